"""The programs of the service as the state machine runs them: web, workers, webhook workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from redis import Redis

from shared import keys
from shared.errors import EmptyFile, ImageExpired, JobNotFound
from shared.jobs import ItemState, Job, Lane, NewItem, Outcome, PartRef, Prediction
from shared.records.job_records import JobRecords
from shared.records.overdue.dead_letters import DeadLetter
from shared.records.webhooks.outbox import Lease, Try, WebhookOutbox
from shared.records.work import PartWork
from shared.addresses.webhook_address import Target
from tests.machine import world
from tests.machine.processes import Client, Died, Process
from tests.machine.promised import Promised
from tests.machine.checks.snapshot import refs_of
from workers.webhooks.delivery import BACKOFF_SECONDS, WebhookDelivery
from workers.webhooks.post import Answer
from workers.webhooks.signature import Signer

WEBHOOK = "http://receiver.example/hook"
CACHED = Outcome(state=ItemState.SUCCEEDED, model_version="m-1", cache_hit=True)
REFUSED = Outcome.failure(EmptyFile())


@dataclass
class Started:
    """A part that a worker has started. It may commit it at any time later, or never."""

    lane: Lane
    work: PartWork


class Delivery(WebhookDelivery):
    """Delivers webhooks to a receiver that gives the answer `answer`."""

    answer: Answer | str = Answer(HTTPStatus.OK, 0)
    promised: Promised
    redis: Redis

    def _post(self, job: Job, target: Target) -> Answer | str:
        assert job.state.ended, "the receiver is notified of a job that has not ended"
        if isinstance(self.answer, Answer):  # also if it answers that it wants no more
            known = self.promised.jobs[job.id]
            known.notified = known.ends
        return self.answer

    def _follow_up(self, attempt: Try, job: Job, target: Target, answer: Answer | str) -> None:
        super()._follow_up(attempt, job, target, answer)
        if self.redis.zscore(keys.WEBHOOKS_DUE, job.id) is None:
            known = self.promised.jobs[job.id]
            longest = 1.2 * BACKOFF_SECONDS[attempt.number - 1]
            no_time_left = self._outbox.now() + longest > job.expires_at
            assert known.notified == known.ends or no_time_left, "a webhook was given up"
            known.notified = known.ends


class Service:
    """One process of each program. `process` dies or is overtaken where a step says so."""

    def __init__(self, redis_url: str, redis: Redis, promised: Promised) -> None:
        self.redis = redis
        self.process = Process()
        client = Client.of(self.process, redis_url)
        self.pool = client.connection_pool
        self.jobs = _records(client)
        self.client: Redis = client
        self.others = _records(redis)
        self.delivery = Delivery(
            WebhookOutbox(client),
            self.jobs.reader,
            Signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            allow_private=True,
            seconds=world.STEP / 8,
        )
        self.delivery.promised, self.delivery.redis = promised, redis
        self.promised = promised
        self.started: list[Started] = []
        self.leases: list[Lease] = []
        self._outcomes = 0

    def take(self, lane: Lane, *, again: bool = False) -> list[PartRef]:
        """Take the oldest message from the queue, as kombu does: from now on it can be lost.

        With `again`, the message also returns to the queue.
        """
        text: Any = self.redis.rpop(keys.queue(lane))
        if again and text:
            self.redis.rpush(keys.queue(lane), text)
        return refs_of(text) if text else []

    def start(self, lane: Lane, refs: list[PartRef]) -> None:
        for work in self.jobs.parts.start(refs, lane):
            self._check_images(work)
            self.started.append(Started(lane, work))
        del self.started[:-12]

    def _check_images(self, work: PartWork) -> None:
        part = self.promised.jobs[work.ref.job_id].parts[work.ref.number]
        for position in work.digests.keys() & work.images.keys():
            stored = part.stored or part.sent[-1]
            assert work.images[position] == stored[position].data, "a worker got another picture"

    def commit(
        self, started: Started, records: JobRecords, client: Redis, skip: frozenset[int]
    ) -> None:
        """Commit outcomes that nobody else has given, for all images but those in `skip`."""
        work = started.work
        job = self.promised.jobs[work.ref.job_id]
        outcomes = {
            position: self._outcome(position in work.images)
            for position in work.digests
            if position not in skip
        }
        if not outcomes:
            return
        for position, outcome in outcomes.items():
            job.give(work.ref.number, position, outcome.to_json())
        pipe = client.pipeline(transaction=False)
        records.parts.commit(pipe, work.ref, started.lane, outcomes)
        pipe.execute()

    def _outcome(self, has_image: bool) -> Outcome:
        self._outcomes += 1
        if not has_image:
            return Outcome.failure(ImageExpired())
        failed = self._outcomes % 5 == 0
        outcome = Outcome.failure(EmptyFile()) if failed else CACHED
        label = Prediction(self._outcomes, "cat", 0.9)
        return replace(outcome, cache_hit=False, predictions=(label,))

    def work(self, lane: Lane, messages: int = 1000, skip: frozenset[int] = frozenset()) -> None:
        """Do all that is queued, as a healthy worker does."""
        while messages and (refs := self.take(lane)):
            messages -= 1
            before = list(self.started)
            self.start(lane, refs)
            for started in [each for each in self.started if each not in before]:
                self.commit(started, self.jobs, self.client, skip)

    def note_retry(self, letter: DeadLetter) -> None:
        job = self.promised.jobs[letter.job_id]
        job.retried.add(divmod(letter.index, world.PART_SIZE))

    def by_another(self, action: str) -> None:
        """Another process acts, on each lane where that makes a difference."""
        for lane in Lane:
            if action == "recovery":
                self.others.recovery.recover(lane)
            elif action == "start":
                works = self.others.parts.start(self.take(lane), lane)
                self.started += [Started(lane, work) for work in works]
        if action == "commit" and self.started:
            self.commit(self.started[-1], self.others, self.redis, frozenset())
        if action == "retry":
            for letter in self.others.dead_letters.all()[:1]:
                self.note_retry(letter)
                self.others.dead_letters.retry(letter)

    def call(self, action: Callable[[], object]) -> bool:
        """Let the process do something; False if it died on the way."""
        try:
            action()
        except Died:
            return False
        finally:
            self.process.go_on()
        return True

    def reads(self, job_id: str) -> Job | None:
        try:
            return self.others.reader.get(job_id)
        except JobNotFound:
            return None


def picture(job_id: str, index: int, content: str = "", outcome: Outcome | None = None) -> NewItem:
    data = f"{job_id} {index}{content}".encode()
    return NewItem(
        name=f"{index}.jpg",
        digest=f"digest of {data.decode()}",
        data=data,
        outcome=outcome,
    )


def _records(redis: Redis) -> JobRecords:
    return JobRecords(redis, result_ttl_seconds=world.TTL, part_deadline_seconds=world.DEADLINE)

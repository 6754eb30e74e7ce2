"""The steps of web processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.errors import (
    IdempotencyKeyReused,
    JobClosed,
    JobNotFound,
    PartConflict,
    Unavailable,
)
from shared.jobs import Lane, NewItem, NewJob, OpenJob, Outcome, part_size, parts_of
from shared.records.claims import AlreadyClaimed, Claim
from tests.machine import world
from tests.machine.choices import (
    CLIENTS,
    Cut,
    claims,
    cuts,
    lanes,
    newest,
    picks,
    positions,
    totals_of_jobs,
    weights,
)
from tests.machine.promised import PromisedJob, PromisedPart
from tests.machine.service import CACHED, REFUSED, WEBHOOK, picture
from tests.machine.steps import Steps


class WebSteps(Steps):
    @rule(
        lane=lanes,
        total=totals_of_jobs,
        webhook=st.booleans(),
        claim=claims,
        done=positions,
        weight=weights,
        at_once=st.booleans(),
        cut=cuts,
    )
    def accept(
        self,
        lane: Lane,
        total: int,
        webhook: bool,
        claim: Claim | None,
        done: frozenset[int],
        weight: int,
        at_once: bool,
        cut: Cut | None,
    ) -> None:
        """A job whose pictures are all here. An earlier release queues interactive jobs at once."""
        job = self._promise(lane, total, webhook, claim)
        at_once = at_once and lane is Lane.INTERACTIVE
        items = [picture(job.id, k, outcome=_outcome(k, done)) for k in range(total)]
        numbers = range(parts_of(total))
        job.parts = {n: PromisedPart(sent=[_of_part(items, n)]) for n in numbers}
        new = NewJob(
            id=job.id,
            lane=lane,
            top_k=5,
            items=items,
            client=job.client,
            weight=weight,
            webhook=WEBHOOK if webhook else None,
        )
        accept = self.jobs.submitter.accept
        self._make(job, lambda: accept([new], claim, at_once=at_once), cut)

    @rule(lane=lanes, total=totals_of_jobs, webhook=st.booleans(), claim=claims, cut=cuts)
    def open(
        self, lane: Lane, total: int, webhook: bool, claim: Claim | None, cut: Cut | None
    ) -> None:
        job = self._promise(lane, total, webhook, claim)
        job.opened = True
        url = WEBHOOK if webhook else None
        new = OpenJob(id=job.id, lane=lane, top_k=5, total=total, client=job.client, webhook=url)
        self._make(job, lambda: self.jobs.submitter.open(new, claim), cut)

    def _promise(self, lane: Lane, total: int, webhook: bool, claim: Claim | None) -> PromisedJob:
        number = len(self.promised.jobs)
        client = CLIENTS[number % 3]
        return self.promised.add(
            PromisedJob(f"job{number}", lane, total, client, webhook=webhook, claim=claim)
        )

    def _make(self, job: PromisedJob, action: Callable[[], object], cut: Cut | None) -> None:
        earlier = self.promised.claimed(job.claim) if job.claim else None
        twins: list[str] = []
        self.twin = lambda: self._send_again(job, twins)
        try:
            job.acknowledged = self._call(action, cut)
        except AlreadyClaimed as claimed:
            assert claimed.job_id in twins or (earlier and claimed.job_id == earlier.id)
        except IdempotencyKeyReused:
            assert earlier and earlier.claim != job.claim
        except Unavailable:
            assert cut, "the service was available"
        else:
            gone = earlier and not self.service.reads(earlier.id)
            assert gone or not (earlier and job.acknowledged), "two jobs with one key"

    def _send_again(self, job: PromisedJob, twins: list[str]) -> None:
        """The same request reaches another web process, before the first has stored its job."""
        twin = self._promise(job.lane, job.total, False, job.claim)
        twin.opened = True
        new = OpenJob(id=twin.id, lane=job.lane, top_k=5, total=job.total, client=twin.client)
        with suppress(AlreadyClaimed, IdempotencyKeyReused):
            self.service.others.submitter.open(new, job.claim)
            twin.acknowledged = True
            twins.append(twin.id)

    @rule(
        pick=picks,
        number=st.integers(0, 2),
        content=st.sampled_from(["", "", "!"]),
        done=positions,
        slow=st.sampled_from([False, False, True]),
        cut=cuts,
    )
    @precondition(lambda self: any(job.opened for job in self.promised))
    def put_part(
        self,
        pick: int,
        number: int,
        content: str,
        done: frozenset[int],
        slow: bool,
        cut: Cut | None,
    ) -> None:
        job = newest([job for job in self.promised if job.opened], pick)
        number %= parts_of(job.total)
        first = number * world.PART_SIZE
        items = [
            picture(job.id, first + k, content, _outcome(k, done))
            for k in range(part_size(job.total, number))
        ]
        part = job.parts.setdefault(number, PromisedPart())
        part.sent.append(items)
        is_same = part.stored and [item.digest for item in part.stored] == _digests(items)
        try:
            record = self.jobs.reader.get(job.id)
            self._call(
                lambda: self.jobs.submitter.put_part(
                    record, number, self._upload(items, slow), client=job.sender(number)
                ),
                cut,
            ) and self._acknowledge(part, items)
        except JobNotFound:
            assert not self.service.reads(job.id), "the job is there"
        except JobClosed:
            read = self.service.reads(job.id)
            assert read and read.state == "cancelled", "the job takes parts"
        except PartConflict:
            assert not is_same, "the part is stored already"
        except Unavailable:
            assert slow or cut, "the part came in time"

    @rule(total=totals_of_jobs, pause=st.sampled_from([0, 1, 2, 4, 10, 19]))
    def upload(self, total: int, pause: int) -> None:
        """A client opens a job and sends all its parts, one after the other."""
        self.open(Lane.BULK, total, webhook=False, claim=None, cut=None)
        for number in range(parts_of(total)):
            self.time.advance(pause)
            self.put_part(0, number, content="", done=frozenset(), slow=False, cut=None)
            self.all_promises_are_kept()

    def _upload(self, items: list[NewItem], slow: bool) -> Iterator[NewItem]:
        """The pictures as they arrive. A slow upload takes longer than staged images live."""
        for item in items:
            yield item
            if slow:
                self.time.advance(3)

    def _acknowledge(self, part: PromisedPart, items: list[NewItem]) -> None:
        part.acknowledged = True
        if part.stored:
            assert _digests(part.stored) == _digests(items), "other pictures are stored"

    @rule(pick=picks, cut=cuts)
    @precondition(lambda self: self.promised.jobs)
    def cancel(self, pick: int, cut: Cut | None) -> None:
        job = newest(list(self.promised), pick)
        self._end(job, lambda: self.jobs.canceller.cancel(job.id), cut)

    @rule(pick=picks, cut=cuts)
    @precondition(lambda self: any(not job.acknowledged for job in self.promised))
    def abandon(self, pick: int, cut: Cut | None) -> None:
        job = newest([job for job in self.promised if not job.acknowledged], pick)
        job.abandoned = True
        self._end(job, lambda: self.jobs.canceller.abandon(job.id, job.claim), cut)

    def _end(self, job: PromisedJob, action: Callable[[], object], cut: Cut | None) -> None:
        try:
            self._call(action, cut)
        except JobNotFound:
            assert not self.service.reads(job.id), "the job is there"

    @rule(pick=picks, claim=st.none() | st.just(Claim("", "retry", "x")), cut=cuts)
    def retry(self, pick: int, claim: Claim | None, cut: Cut | None) -> None:
        letters = self.jobs.dead_letters.all()
        if letters:
            letter = newest(letters, pick)
            self.service.note_retry(letter)
            self._call(lambda: self.jobs.dead_letters.retry(letter, claim), cut)


def _outcome(position: int, done: frozenset[int]) -> Outcome | None:
    """The outcome that a picture has when it is sent, if it is one of `done`."""
    if position not in done:
        return None
    return REFUSED if position % 2 else CACHED


def _of_part(items: list[NewItem], number: int) -> list[NewItem]:
    return items[number * world.PART_SIZE : (number + 1) * world.PART_SIZE]


def _digests(items: Sequence[NewItem]) -> list[str]:
    return [item.digest for item in items]

"""Records that an earlier release wrote: this release reads them and goes on with the work.

The snapshot has a job in each state. Ids begin with the name of their job.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.jobs import Item, ItemState, JobState, Lane, NewItem, Outcome, PartRef
from shared.records.claims import Claim
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from shared.records.webhooks.outbox import WebhookOutbox
from shared.result_cache import ResultCache
from shared.serving import model_info
from tests.conftest import Clock
from tests.shared.compatibility.golden_records import FOLDER, restore

RELEASES = sorted(path.stem for path in FOLDER.glob("*.json"))


def job_id(name: str) -> str:
    return name.ljust(32, "0")


ENDED, SINGLE, DEAD = job_id("a1c0"), job_id("b1"), job_id("d1")
RUNNING, CANCELLED, OPEN, WAITING = job_id("e1"), job_id("f1"), job_id("01ab"), job_id("c1")


@pytest.fixture(autouse=True, params=RELEASES)
def release(request: pytest.FixtureRequest, redis: Redis, clock: Clock) -> str:
    clock.now = restore(redis, request.param)
    return str(request.param)


def items(jobs: JobRecords, job: str) -> list[Item]:
    return jobs.reader.items(job, 0, jobs.reader.get(job).total)


def take(redis: Redis, lane: Lane) -> list[PartRef]:
    """The parts of the oldest message."""
    text: Any = redis.rpop(keys.queue(lane))
    body = json.loads(base64.b64decode(json.loads(text)["body"])) if text else [[[]]]
    return [PartRef.from_message(part) for part in body[0][0]]


def work_off(redis: Redis, jobs: JobRecords, lane: Lane) -> list[str]:
    """Work as a worker until the queue is empty; gives the jobs in the order of their parts."""
    done = []
    while refs := take(redis, lane):
        for work in jobs.parts.start(refs, lane):
            assert work.images.keys() == work.digests.keys(), "all bytes are there"
            outcome = Outcome(state=ItemState.SUCCEEDED, model_version="new")
            pipe = redis.pipeline(transaction=False)
            jobs.parts.commit(pipe, work.ref, lane, dict.fromkeys(work.digests, outcome))
            pipe.execute()
            done.append(work.ref.job_id)
    return done


def test_every_job_can_be_read(jobs: JobRecords) -> None:
    states = {job: jobs.reader.get(job).state for job in (ENDED, SINGLE, RUNNING, CANCELLED, OPEN)}
    assert states == {
        ENDED: JobState.COMPLETED,
        SINGLE: JobState.QUEUED,
        RUNNING: JobState.RUNNING,
        CANCELLED: JobState.CANCELLED,
        OPEN: JobState.RECEIVING,
    }
    first, second = items(jobs, ENDED)
    assert first.name == "a1c0/é 0.jpg" and second.custom_id == "id-1"
    assert first.outcome and second.outcome and second.outcome.error
    assert first.outcome.predictions[0].class_name == "label 0"
    assert first.outcome.durations and first.outcome.durations.inference_ms == 7.5
    assert second.outcome.error.code == "decode_failed"
    assert [item.state for item in items(jobs, CANCELLED)].count(ItemState.SUCCEEDED) == 8


def test_a_job_without_min_score_has_a_label_for_every_picture(jobs: JobRecords) -> None:
    assert jobs.reader.get(ENDED).min_score == 0
    first, second = items(jobs, ENDED)
    assert first.outcome and second.outcome
    assert first.outcome.verdict(first.min_score) == ("label 0", False, ("label 0",))
    assert second.outcome.verdict(second.min_score) == (None, False, ())


def test_all_work_is_finished(redis: Redis, jobs: JobRecords, clock: Clock) -> None:
    assert work_off(redis, jobs, Lane.INTERACTIVE) == [SINGLE]
    work_off(redis, jobs, Lane.BULK)
    clock.now += 61  # the part on which a worker of that release had started
    jobs.recovery.recover(Lane.BULK)
    work_off(redis, jobs, Lane.BULK)
    for job in (SINGLE, RUNNING, WAITING):
        assert jobs.reader.get(job).state is JobState.COMPLETED
        assert all(item.outcome for item in items(jobs, job))
    assert [backlog.of_lane(redis, lane).images for lane in Lane] == [0, 0]
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_an_open_job_takes_its_other_parts(redis: Redis, jobs: JobRecords) -> None:
    job = jobs.reader.get(OPEN)
    assert jobs.reader.missing_parts(OPEN) == [0, 2]
    for number, size in ((0, 32), (2, 6)):
        part = [NewItem(name="", digest=f"{k:064x}", data=b"picture") for k in range(size)]
        assert jobs.submitter.put_part(job, number, part).is_new
    work_off(redis, jobs, Lane.BULK)
    assert jobs.reader.get(OPEN).succeeded == 70


def test_a_dead_letter_can_be_retried(redis: Redis, jobs: JobRecords) -> None:
    [letter] = jobs.dead_letters.all()
    assert letter.owner == "anna" and jobs.dead_letters.retry(letter)
    assert DEAD in work_off(redis, jobs, Lane.BULK)
    assert jobs.reader.get(DEAD).succeeded == 2


def test_a_webhook_is_still_due(redis: Redis, jobs: JobRecords, clock: Clock) -> None:
    outbox = WebhookOutbox(redis)
    [lease] = outbox.lease(now=clock.now, until=clock.now + 60, most=10)
    assert jobs.reader.get(lease.job_id).webhook == "https://example.com/hook"


def test_claims_answers_and_the_model_are_known(redis: Redis, jobs: JobRecords) -> None:
    assert jobs.reader.claimed(Claim("anna", "my-key", "f" * 64)) == ENDED
    version = model_info.read(redis).version
    [answer] = ResultCache(redis, ttl_seconds=60).get(version, [f"{0:064x}"])
    assert answer and len(answer.predictions) == 10


def test_a_job_can_be_cancelled(redis: Redis, jobs: JobRecords) -> None:
    for job in (RUNNING, WAITING, OPEN):
        assert jobs.canceller.cancel(job)
    work_off(redis, jobs, Lane.BULK)
    assert backlog.of_lane(redis, Lane.BULK).images == 0
    assert not redis.keys("images:c1*")

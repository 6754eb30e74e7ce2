"""What an account says that records take is compared with what a real Redis then uses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.jobs import Lane, NewItem, NewJob, OpenJob, new_job_id
from shared.records.accounts import account
from shared.records.claims import Claim
from shared.records.job_records import JobRecords
from tests.shared.records.accounts.test_accounts import LABELS
from tests.shared.records.parts import commit, take_message

CLIENT = "address 127.0.0.1"

#: So many jobs that tables of a fixed size do not matter.
COUNT = 600

Make = Callable[[JobRecords, Redis, str | None, Claim | None], None]


def cancelled(jobs: JobRecords, redis: Redis, webhook: str | None, claim: Claim | None) -> None:
    job = OpenJob(id=new_job_id(), lane=Lane.BULK, top_k=5, total=1, client=CLIENT, webhook=webhook)
    jobs.submitter.open(job, claim)
    jobs.canceller.cancel(job.id)


def classified(jobs: JobRecords, redis: Redis, webhook: str | None, claim: Claim | None) -> None:
    item = NewItem(name="cat.jpg", digest=new_job_id() + new_job_id(), data=b"a picture")
    job = NewJob(
        id=new_job_id(), lane=Lane.BULK, top_k=5, items=[item], client=CLIENT, webhook=webhook
    )
    jobs.submitter.accept([job], claim)
    for ref in take_message(redis):
        jobs.parts.start([ref], Lane.BULK)
        commit(redis, jobs, ref, {0: LABELS})


def in_redis(redis: Redis) -> int:
    """Bytes of all keys. Redis counts buffers of its connections as its own memory, too."""
    pipe = redis.pipeline(transaction=False)
    for key in redis.keys():
        pipe.memory_usage(key, samples=0)
    return sum(pipe.execute())


@pytest.mark.parametrize("make", [cancelled, classified])
@pytest.mark.parametrize(
    "webhook, claim",
    [(0, 0), (50, 20), (0, 255), (2048, 0), (2048, 255)],
    ids=["plain", "usual", "long claim", "long webhook", "both long"],
)
def test_an_account_is_near_the_truth(
    redis: Redis, jobs: JobRecords, make: Make, webhook: int, claim: int
) -> None:
    """`webhook` and `claim` are the lengths of their texts."""
    used = kept = 0
    for k in range(-10, COUNT):
        if k == 0:  # what all jobs share is there now
            used, kept = in_redis(redis), account.read(redis, CLIENT).kept
        url = "http://a.example/".ljust(webhook, "x") if webhook else None
        key = Claim(CLIENT, f"{k}".rjust(claim, "k"), 2 * new_job_id()) if claim else None
        make(jobs, redis, url, key)
    used = in_redis(redis) - used
    kept = account.read(redis, CLIENT).kept - kept
    # The tables of all keys are not counted above, and releases of Redis differ.
    assert used / 1.2 < kept < 1.5 * used

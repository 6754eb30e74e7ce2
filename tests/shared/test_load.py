"""What a job is told of its wait, against real drains."""

from __future__ import annotations

import time
from collections.abc import Sequence

from redis import Redis

from shared.job_store import JobStore, new_job_id
from shared.jobs import PART_SIZE, ItemState, Lane, NewItem, NewJob, Outcome, PartRef
from shared.load import Outlook, outlook

DEADLINE = 60.0
SUCCESS = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")


def accept(jobs: JobStore, parts: int, known: int = 0) -> list[PartRef]:
    """A job of so many parts; of the first items the outcome is known."""
    job_id = new_job_id()
    items = [
        NewItem(name="", digest=f"{k:064x}", data=b"x", outcome=SUCCESS if k < known else None)
        for k in range(parts * PART_SIZE)
    ]
    jobs.accept([NewJob(id=job_id, lane=Lane.BULK, top_k=1, items=items)])
    return [PartRef(job_id, number, PART_SIZE) for number in range(parts)]


def work(jobs: JobStore, redis: Redis, ref: PartRef) -> None:
    jobs.start([ref], Lane.BULK)
    pipe = redis.pipeline(transaction=False)
    jobs.commit(pipe, ref, Lane.BULK, {k: SUCCESS for k in range(PART_SIZE)})
    pipe.execute()


def told(jobs: JobStore, redis: Redis, refs: Sequence[PartRef]) -> Outlook:
    return outlook(redis, jobs.get(refs[0].job_id), deadline_seconds=DEADLINE)


def test_the_position_counts_what_is_ahead_and_nothing_behind(jobs: JobStore, redis: Redis) -> None:
    first, second, third = (accept(jobs, parts) for parts in (3, 2, 5))
    positions = [told(jobs, redis, job).position for job in (first, second, third)]
    assert positions == [0, 3 * PART_SIZE, 5 * PART_SIZE]
    assert told(jobs, redis, third).seconds is None  # nothing drains

    for ref in first:
        work(jobs, redis, ref)
    assert told(jobs, redis, first) == Outlook(position=None, seconds=None)
    assert told(jobs, redis, second).position == 0
    assert told(jobs, redis, third).position == 2 * PART_SIZE
    jobs.start(second, Lane.BULK)
    assert told(jobs, redis, second).position == 0


def test_a_cancelled_job_waits_for_nothing(jobs: JobStore, redis: Redis) -> None:
    job = accept(jobs, 2)
    jobs.cancel(job[0].job_id)
    assert told(jobs, redis, job) == Outlook()


def test_one_round_trip_while_a_job_goes_on_and_none_after(jobs: JobStore, redis: Redis) -> None:
    refs = accept(jobs, 1)
    job = jobs.get(refs[0].job_id)
    for state, expected in (("queued", 1), ("completed", 0)):
        before = _packets(redis)
        assert job.state == state
        outlook(redis, job, deadline_seconds=DEADLINE)
        assert _packets(redis) - before == expected + 1  # and the question itself
        work(jobs, redis, refs[0])
        job = jobs.get(job.id)


def _packets(redis: Redis) -> int:
    return int(redis.info("stats")["total_reads_processed"])


def test_on_a_steady_load_the_estimate_is_right_within_a_factor_of_two(
    jobs: JobStore, redis: Redis
) -> None:
    """640 images a second, in the order of arrival, with a second job behind the first."""
    both = [accept(jobs, 60), accept(jobs, 30)]
    estimates: list[list[tuple[float, float | None]]] = [[], []]
    ended = []
    started = time.monotonic()
    for number, ref in enumerate(both[0] + both[1]):
        time.sleep(max(0.0, started + number * 0.05 - time.monotonic()))
        work(jobs, redis, ref)
        for job, of_job in zip(both, estimates, strict=True):
            of_job.append((time.monotonic(), told(jobs, redis, job).seconds))
        if ref in (both[0][-1], both[1][-1]):
            ended.append(time.monotonic())
    for end, of_job in zip(ended, estimates, strict=True):
        # After the first seconds, and while there is something to estimate.
        late = [(end - at, s) for at, s in of_job if at - started > 1.5 and end - at > 0.4]
        assert len(late) > 10
        assert all(s is not None and left / 2 < s < left * 2 for left, s in late), late


def test_two_jobs_that_take_turns_are_told_their_own_pace(jobs: JobStore, redis: Redis) -> None:
    both = [accept(jobs, 40), accept(jobs, 40)]
    started = time.monotonic()
    checked = 0
    for number in range(40):
        for job in both:
            time.sleep(0.04)
            work(jobs, redis, job[number])
        spent = time.monotonic() - started
        left = spent / (number + 1) * (39 - number)
        if spent > 1.5 and left > 0.4:
            seconds = [told(jobs, redis, job).seconds or 0 for job in both]
            assert all(left / 2 < each < left * 2 for each in seconds), (left, seconds)
            checked += 1
    assert checked > 5

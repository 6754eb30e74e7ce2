"""An estimate of what is ahead of a job and how long it still takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from shared import clock, keys
from shared.jobs import Job, Lane
from shared.records.load import drain

#: A job that was submitted longer ago than this is estimated by the lane's speed since then.
_SETTLED_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Both are None for a job that has ended."""

    position: int | None = None  #: Images ahead of the job's first one; 0 once it is started.
    seconds: float | None = None  #: Until the job ends; also None if the lane commits nothing.


def of_job(redis: Redis, job: Job, *, deadline_seconds: float) -> Estimate:
    """Estimate a job's position and time; at most one round trip.

    `deadline_seconds` is the setting PART_DEADLINE_SECONDS. Redis counts only the parts that are
    ahead, so `position` takes each part to be of the lane's average size. `seconds` is at the speed
    of the lane in the last seconds.
    """
    if job.state.ended:
        return Estimate()
    if job.lane is Lane.INTERACTIVE and job.total == 1 and job.next_round is None:
        return _by_deadlines(redis, job, deadline_seconds)
    return _by_rounds(redis, job)


def _by_deadlines(redis: Redis, job: Job, deadline_seconds: float) -> Estimate:
    """For a single picture that was queued at once.

    Parts wait in the order of their deadlines, `deadline_seconds` after they were accepted. Parts
    that were started have later deadlines.
    """
    now = clock.now(redis)
    outstanding = keys.outstanding(job.lane)
    pipe = redis.pipeline(transaction=False)
    pipe.zcount(outstanding, "-inf", f"({job.created_at + deadline_seconds}")
    pipe.zcard(outstanding)
    pipe.get(keys.outstanding_images(job.lane))
    drain.read(pipe, job.lane, now)
    parts_ahead, parts, images, counts = pipe.execute()
    images = int(images or 0)
    rate = _rate(job, images, counts, now)
    if job.started_at:
        return Estimate(position=0, seconds=_remaining(job, images, rate, now) if rate else None)
    position = round(parts_ahead * images / max(1, parts))
    return Estimate(position=position, seconds=(position + job.queued) / rate if rate else None)


def _by_rounds(redis: Redis, job: Job) -> Estimate:
    """For a job whose parts wait for their rounds.

    Parts of its client that wait for a later round than the job's last part are not ahead of it.
    Each other client is taken to have one part in each round. Jobs that are submitted later will
    share the rounds. `seconds` does not include them.
    """
    now = clock.now(redis)
    outstanding = keys.outstanding(job.lane)
    first, last = job.first_round or 0, (job.next_round or 0) - 1
    pipe = redis.pipeline(transaction=False)
    # Parts that came before the job had a model version wait in the queue of all workers.
    for version in {"", job.model_version or ""}:
        pipe.zcard(keys.waiting(job.lane, version))
        pipe.zcard(keys.clients(job.lane, version))
        # Its slow parts have kept their rounds.
        for client in (job.client, keys.slow(job.client)):
            own = keys.waiting_of(job.lane, client, version)
            pipe.zcount(own, "(0", "+inf")
            pipe.zcount(own, "(0", first)
            pipe.zcount(own, "(0", last)
    pipe.zcard(outstanding)
    pipe.zcount(outstanding, "-inf", f"({job.first_due or 0}")
    pipe.get(keys.outstanding_images(job.lane))
    drain.read(pipe, job.lane, now)
    *of_queues, parts, before_due, images, counts = pipe.execute()
    waiting, clients, *own_counts = (sum(of_queues[k::8]) for k in range(8))
    of_client, until_first, until_last = (sum(own_counts[k::3]) for k in range(3))
    images = int(images or 0)
    queued, size = parts - waiting, images / max(1, parts)

    def with_other_clients(own_parts: float) -> float:
        """The parts that are served together with so many of the job's client."""
        others: float = min(waiting - of_client, (clients - 1) * own_parts / job.weight)
        return own_parts + others

    if job.started_at:
        ahead = 0
    elif job.first_due:
        ahead = before_due
    else:
        ahead = queued + max(0, with_other_clients(until_first) - 1)  # without its own first part
    left = (queued + with_other_clients(until_last)) * size + job.total - job.received
    rate = _rate(job, images, counts, now)
    return Estimate(position=round(ahead * size), seconds=left / rate if rate else None)


def _remaining(job: Job, images: int, rate: float, now: float) -> float:
    """Seconds that a started job still takes, in a lane with so many images outstanding.

    The job goes on at its own pace, since others may share the lane. But it takes at least as long
    as if it had the lane for itself, and at most as long as the whole lane.
    """
    assert job.started_at
    done = job.succeeded + job.failed - job.cached
    pace = done / max(1.0, now - job.started_at)
    least, most = job.queued / rate, max(job.queued, images) / rate
    return min(most, max(least, job.queued / pace)) if pace > 0 else most


def _rate(job: Job, images: int, counts: Sequence[Any], now: float) -> float:
    """The lane's speed for one job, in images per second.

    A lane that had little to do before the job is not a slow one. So the speed counts from the
    job's submission, unless that was just now and the lane has other work.
    """
    if now - job.created_at < _SETTLED_SECONDS and images > job.queued:
        return drain.rate(counts, now)
    return drain.rate_since(counts, job.created_at, now)

"""How much there is to do, by how many, and how fast: what back-pressure goes by."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis import Redis

from shared import keys, presence
from shared.records import fairness
from shared.jobs import Job, Lane

#: Seconds over which the drain rate is told: several micro-batches, and still "lately".
_WINDOW_SECONDS = 10


#: A lane's speed since then tells more than what was before.
_SETTLED_SECONDS = 3.0


class Backlog(NamedTuple):
    """What a lane has accepted and not yet committed."""

    parts: int
    images: int
    oldest_deadline: float | None  #: Unix seconds.


def of_lane(redis: Redis, lane: Lane) -> Backlog:
    """How much a lane has outstanding; one round trip."""
    pipe = redis.pipeline(transaction=False)
    pipe.zcard(keys.outstanding(lane))
    pipe.get(keys.outstanding_images(lane))
    pipe.zrange(keys.outstanding(lane), 0, 0, withscores=True)
    least = time.time() + keys.WAITING_SECONDS / 2
    pipe.zrangebyscore(keys.outstanding(lane), least, "+inf", 0, 1, withscores=True)
    parts, images, queued, waiting = pipe.execute()
    deadlines = [score for _, score in queued if score < least]
    deadlines += [score - keys.WAITING_SECONDS for _, score in waiting]
    return Backlog(parts, int(images or 0), min(deadlines, default=None))


@dataclass(frozen=True, kw_only=True)
class Load:
    """One reading."""

    workers: Mapping[Lane, int]  #: That take parts.
    parts: Mapping[Lane, int]  #: Outstanding.
    images: Mapping[Lane, int]  #: Of these.
    drained: Mapping[Lane, float]  #: Images committed per second, lately.
    bytes_held: int  #: Of the images of both lanes.
    memory_used: int  #: By all that Redis holds, in bytes.
    memory_limit: int  #: Redis's `maxmemory`; 0 where none is set or told.

    def seconds_left(self, lane: Lane) -> float | None:
        """Until a lane is empty at its present speed; None if it has images and no speed."""
        if not self.images[lane]:
            return 0.0
        drained = self.drained[lane]
        return self.images[lane] / drained if drained else None


def read(redis: Redis) -> Load:
    """The present load, in one round trip."""
    now = time.time()
    pipe = redis.pipeline(transaction=False)
    pipe.info("memory")
    pipe.hget(keys.HELD, "total")
    for lane in Lane:
        presence.count(pipe, lane, now)
        pipe.zcard(keys.outstanding(lane))
        pipe.get(keys.outstanding_images(lane))
        pipe.mget([keys.drained(lane, each) for each in _window(now)])
    memory, held, *lanes = pipe.execute()
    return Load(
        workers=dict(zip(Lane, lanes[::4], strict=True)),
        parts=dict(zip(Lane, lanes[1::4], strict=True)),
        images={lane: int(images or 0) for lane, images in zip(Lane, lanes[2::4], strict=True)},
        drained={lane: _rate(counts, now) for lane, counts in zip(Lane, lanes[3::4], strict=True)},
        bytes_held=int(held or 0),
        memory_used=memory["used_memory"],
        memory_limit=memory.get("maxmemory", 0),  # some hosted ones do not tell
    )


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """How long a job has still to wait, as far as can be told. Nothing of one that has ended."""

    position: int | None = None  #: Images ahead of its first one; 0 once it is worked on.
    seconds: float | None = None  #: Until it ends; None, too, where nothing drains.


def outlook(redis: Redis, job: Job, *, deadline_seconds: float) -> Outlook:
    """What is ahead of a job, and how long it takes; at most one round trip.

    Where jobs take turns, those tell. Elsewhere parts wait in the order of their deadlines,
    `deadline_seconds` after they were accepted, and those that were started have later ones. Only
    parts are counted: `position` takes each to be of the lane's average size. `seconds` is told at
    the speed of the lane's last seconds.
    """
    if job.state.ended:
        return Outlook()
    if job.lane in fairness.FAIR:
        return _outlook_by_turns(redis, job)
    now = time.time()
    pipe = redis.pipeline(transaction=False)
    pipe.zcount(keys.outstanding(job.lane), "-inf", f"({job.created_at + deadline_seconds}")
    pipe.zcard(keys.outstanding(job.lane))
    pipe.get(keys.outstanding_images(job.lane))
    pipe.mget([keys.drained(job.lane, second) for second in _window(now)])
    parts_ahead, parts, outstanding, counts = pipe.execute()
    images = int(outstanding or 0)
    rate = _rate_for(job, images, counts, now)
    if job.started_at:
        return Outlook(position=0, seconds=_remaining(job, images, rate) if rate else None)
    position = round(parts_ahead * images / max(1, parts))
    return Outlook(position=position, seconds=(position + job.queued) / rate if rate else None)


def _outlook_by_turns(redis: Redis, job: Job) -> Outlook:
    """The same where jobs take turns: what waits for a later turn than its last is not ahead.

    Those who are yet to come take turns too, so `seconds` is told as if nobody came.
    """
    now = time.time()
    outstanding, waiting = keys.outstanding(job.lane), keys.waiting(job.lane)
    first, last = job.first_turn or 0, (job.next_turn or 0) - 1
    pipe = redis.pipeline(transaction=False)
    pipe.zcard(outstanding)
    pipe.zcard(waiting)
    pipe.zcount(waiting, "-inf", first)
    pipe.zcount(waiting, "-inf", last)
    pipe.zcount(outstanding, "-inf", f"({job.first_due or 0}")
    pipe.get(keys.outstanding_images(job.lane))
    pipe.mget([keys.drained(job.lane, second) for second in _window(now)])
    parts, parts_waiting, until_first, until_last, before_due, images, counts = pipe.execute()
    images = int(images or 0)
    queued, size = parts - parts_waiting, images / max(1, parts)
    rate = _rate_for(job, images, counts, now)
    ahead = queued + max(0, until_first - 1)  # itself is not
    if job.started_at:
        ahead = 0
    elif job.first_due:
        ahead = before_due
    left = (queued + until_last) * size + job.total - job.received
    return Outlook(position=round(ahead * size), seconds=left / rate if rate else None)


def _remaining(job: Job, images: int, rate: float) -> float:
    """Seconds that a job under way still takes, in a lane with so many images outstanding.

    At its own pace until now, since others may share the lane; but no sooner than if the lane were
    its alone, and no later than all that the lane has.
    """
    assert job.started_at
    done = job.succeeded + job.failed - job.cached
    pace = done / max(1.0, time.time() - job.started_at)
    alone, last = job.queued / rate, max(job.queued, images) / rate
    return min(last, max(alone, job.queued / pace)) if pace > 0 else last


def _window(now: float) -> range:
    """The seconds over which the drain rate is told."""
    return range(int(now) - _WINDOW_SECONDS + 1, int(now) + 1)


def _rate_for(job: Job, images: int, counts: Sequence[Any], now: float) -> float:
    """The same for one job, in a lane with so many images outstanding.

    From when it came on, where that was not just now or it has the lane for itself: a lane that
    had little to do before is not a slow one.
    """
    if now - job.created_at < _SETTLED_SECONDS and images > job.queued:
        return _rate(counts, now)
    began = max(job.created_at, _window(now)[0])
    since = counts[int(began) - _window(now)[0] :]
    return sum(int(count or 0) for count in since) / max(1.0, now - began)


def _rate(counts: Sequence[Any], now: float) -> float:
    """Images per second since the first second of the window that had any."""
    images = [int(count or 0) for count in counts]
    while images and not images[0]:
        del images[0]
    seconds = max(1.0, len(images) - 1 + now % 1)  # the last one is not over
    return sum(images) / seconds

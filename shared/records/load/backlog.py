"""How much work is outstanding, how many workers there are, and how fast they are.

Admission and the metrics read this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from redis import Redis

from shared import clock, keys
from shared.jobs import Lane
from shared.operation import lane_states
from shared.operation.lane_states import OPEN, LaneOrder
from shared.records.load import drain
from shared.serving import presence


class Backlog(NamedTuple):
    """What a lane has accepted and not yet committed."""

    parts: int
    images: int
    oldest_deadline: float | None  #: Unix seconds; None if the lane is empty.


def of_lane(redis: Redis, lane: Lane) -> Backlog:
    """How much a lane has outstanding; one round trip."""
    # The deadlines of parts that wait for their round lie WAITING_SECONDS later.
    least_waiting = clock.now(redis) + keys.WAITING_SECONDS / 2
    outstanding = keys.outstanding(lane)
    pipe = redis.pipeline(transaction=False)
    pipe.zcard(outstanding)
    pipe.get(keys.outstanding_images(lane))
    pipe.zrange(outstanding, 0, 0, withscores=True)
    pipe.zrangebyscore(outstanding, least_waiting, "+inf", 0, 1, withscores=True)
    parts, images, queued, waiting = pipe.execute()
    deadlines = [score for _, score in queued if score < least_waiting]
    deadlines += [score - keys.WAITING_SECONDS for _, score in waiting]
    return Backlog(parts, int(images or 0), min(deadlines, default=None))


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load of both lanes at one moment."""

    workers: Mapping[Lane, int]  #: Workers that accept parts.
    parts: Mapping[Lane, int]  #: Outstanding parts.
    images: Mapping[Lane, int]  #: Images in these parts.
    drained: Mapping[Lane, float]  #: Images per second that were committed lately.
    bytes_held: int  #: Bytes of the images of both lanes.
    memory_used: int  #: Bytes that Redis uses for everything.
    memory_limit: int  #: Redis's `maxmemory` in bytes; 0 if there is none or it is not known.
    #: The records of shared.records.load.reservation.
    reservations: Sequence[bytes] = ()
    #: What the operator wants of each lane; empty if all lanes are open.
    orders: Mapping[Lane, LaneOrder] = field(default_factory=dict)

    def order(self, lane: Lane) -> LaneOrder:
        return self.orders.get(lane, OPEN)

    def seconds_left(self, lane: Lane) -> float | None:
        """Until a lane is empty at its present speed; None if it has images and no speed."""
        if not self.images[lane]:
            return 0.0
        drained = self.drained[lane]
        return self.images[lane] / drained if drained else None


def read(redis: Redis) -> Load:
    """The present load, in one round trip."""
    now = clock.now(redis)
    pipe = redis.pipeline(transaction=False)
    pipe.info("memory")
    pipe.hget(keys.HELD, "total")
    pipe.zrange(keys.RESERVED, 0, -1)
    lane_states.ask(pipe)
    for lane in Lane:
        presence.count(pipe, lane, now)
        pipe.zcard(keys.outstanding(lane))
        pipe.get(keys.outstanding_images(lane))
        drain.read(pipe, lane, now)
    memory, held, reservations, orders, *lanes = pipe.execute()
    workers, parts, images, counts = (lanes[k::4] for k in range(4))
    return Load(
        workers=dict(zip(Lane, workers, strict=True)),
        parts=dict(zip(Lane, parts, strict=True)),
        images={lane: int(count or 0) for lane, count in zip(Lane, images, strict=True)},
        drained={lane: drain.rate(each, now) for lane, each in zip(Lane, counts, strict=True)},
        bytes_held=int(held or 0),
        memory_used=memory["used_memory"],
        memory_limit=memory.get("maxmemory", 0),  # some hosted Redis services leave it out
        reservations=reservations,
        orders=lane_states.orders(orders),
    )

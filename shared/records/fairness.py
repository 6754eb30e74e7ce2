"""Parts of bulk jobs take turns: a job of ten pictures does not wait for one of ten thousand.

Celery's queue is first come, first served. So parts of the bulk lane wait in a sorted set, by turn,
and few of them are in the queue at a time; each start of a batch queues the next. The interactive
lane has no use for it: what comes there is small, and queued in the same breath.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis.client import Pipeline

from shared import keys
from shared.jobs import Lane, PartRef
from shared.message import message
from shared.records.scripts import script

#: Where jobs take turns.
FAIR = frozenset({Lane.BULK})

#: Added to the deadline of a part that waits its turn; the scripts know it too.
WAITING_SECONDS = 1_000_000_000

_JOIN = script("records", "turns", "join")
_FEED = script("records", "turns", "feed")


def join(pipe: Pipeline, lane: Lane, sizes: Mapping[PartRef, int], *, deadline: float) -> None:
    """Add to a transaction that stores parts: they wait their turn, or are queued if it is now.

    `sizes` are the bytes that each part holds. Replies with the images that are outstanding in the
    lane, and the bytes that are held.
    """
    stored: list[str] = []
    told: list[str | int] = []
    for ref, size in sizes.items():
        stored += (keys.job(ref.job_id), keys.part(ref.job_id, ref.number))
        told += (ref.member, message(lane, [ref]), ref.images, size)
    own = _keys(lane)
    pipe.eval(_JOIN, len(own) + len(stored), *own, *stored, deadline, *told)


def feed(pipe: Pipeline, lane: Lane, *, deadline: float, taken: int) -> None:
    """Add to a round trip: queue the parts whose turn it is; harmless at any time."""
    own = _keys(lane)
    pipe.eval(_FEED, len(own), *own, deadline, taken)


def _keys(lane: Lane) -> tuple[str, ...]:
    return (
        keys.waiting(lane),
        keys.turn(lane),
        keys.queue(lane),
        keys.outstanding(lane),
        keys.outstanding_images(lane),
        keys.HELD,
    )

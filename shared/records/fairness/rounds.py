"""Fair scheduling: a bulk job of ten pictures does not wait for one of ten thousand.

Celery's queue is first come, first served. So parts of the bulk lane wait in a sorted set, by
round: each job has one part in a round. Only a few parts are in the queue at a time, and each start
of a batch queues the next. The interactive lane does not need this: its jobs are small, and their
parts are queued at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from redis.client import Pipeline

from shared import keys
from shared.jobs import Lane, PartRef
from shared.message import message
from shared.records.scripts import Script

#: The lanes with fair scheduling.
FAIR = frozenset({Lane.BULK})

_JOIN = Script("fairness/join")
_FEED = Script("fairness/feed")


def join(
    pipe: Pipeline,
    lane: Lane,
    sizes: Mapping[PartRef, int],
    *,
    deadline: float,
    version: str = "",
) -> None:
    """Add parts to a transaction that stores them: they wait for their round, or are queued.

    `sizes` gives the bytes of each part's images; `deadline` is in Unix seconds. The reply is the
    number of images that are outstanding in the lane, and the bytes that are held.
    """
    rows = [
        (
            keys.job(ref.job_id),
            keys.part(ref.job_id, ref.number),
            ref.member,
            message(lane, [ref], version=version),
            ref.images,
            size,
        )
        for ref, size in sizes.items()
    ]
    _JOIN(pipe, rows, **_queue(lane, version), **_counts(lane), deadline=deadline)


def feed(
    pipe: Pipeline, lane: Lane, *, deadline: float, taken: int, versions: Iterable[str] = ()
) -> None:
    """Add to a pipeline: queue the parts whose round has come. It is harmless at any time.

    `taken` is the number of parts that were just started. The parts are those of `versions`, and
    those of jobs without a version.
    """
    rows = [[*_queue(lane, version).values()] for version in {"", *versions}]
    _FEED(pipe, rows, **_counts(lane), deadline=deadline, taken=taken)


def _queue(lane: Lane, version: str) -> dict[str, str]:
    return {
        "waiting": keys.waiting(lane, version),
        "current_round": keys.current_round(lane, version),
        "queue": keys.queue(lane, version),
    }


def _counts(lane: Lane) -> dict[str, str]:
    return {
        "outstanding": keys.outstanding(lane),
        "outstanding_images": keys.outstanding_images(lane),
        "held": keys.HELD,
    }

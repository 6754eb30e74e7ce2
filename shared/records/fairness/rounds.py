"""Fair scheduling: a job of ten pictures does not wait for one of ten thousand.

Celery's queue is first come, first served. So parts wait beside it, in sorted sets: the clients of
a lane share it in rounds, and the jobs of a client share what it gets. Only a few parts are in the
queue at a time, and each start of a batch queues the next. In the lane `interactive`, most single
pictures do not wait: they are queued at once, unless their client has many there
(web.submit.coalescer).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from redis import Redis
from redis.client import Pipeline

from shared import keys
from shared.jobs import Lane, PartRef
from shared.message import message
from shared.records.scripts import Script

_JOIN = Script("fairness/join")
_FEED = Script("fairness/feed")


def join(
    pipe: Pipeline,
    lane: Lane,
    sizes: Mapping[PartRef, int],
    clients: Mapping[str, str],
    *,
    deadline: float,
    version: str = "",
) -> None:
    """Add parts to a transaction that stores them: they wait for their round, or are queued.

    `sizes` gives the bytes of each part's images, and `clients` the client of each job. `deadline`
    is in Unix seconds. The reply is the number of images that are outstanding in the lane, and the
    bytes that are held.
    """
    rows = [
        (
            keys.job(ref.job_id),
            keys.part(ref.job_id, ref.number),
            ref.member,
            message(lane, [ref], version=version, client=clients[ref.job_id]),
            ref.images,
            size,
        )
        for ref, size in sizes.items()
    ]
    _JOIN(
        pipe,
        rows,
        outstanding_images=keys.outstanding_images(lane),
        held=keys.HELD,
        queue=keys.queue(lane, version),
        deadline=deadline,
    )


def feed(
    client: Redis, lane: Lane, *, deadline: float, taken: int, versions: Iterable[str] = ()
) -> None:
    """Queue the parts whose round has come, or add that to a pipeline. It is harmless at any time.

    `taken` is the number of parts that were just started. The parts are those of `versions`, and
    those of jobs without a version.
    """
    rows = [(keys.queue(lane, version),) for version in {"", *versions}]
    _FEED(client, rows, deadline=deadline, taken=taken)

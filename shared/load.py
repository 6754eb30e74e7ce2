"""How much there is to do, and how fast it is being done: what back-pressure goes by."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from shared import keys
from shared.jobs import Lane

#: Seconds over which the drain rate is told: several micro-batches, and still "lately".
_WINDOW_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Load:
    """One reading."""

    images: Mapping[Lane, int]  #: Outstanding.
    drained: Mapping[Lane, float]  #: Images committed per second, lately.
    bytes_held: int  #: Of the images of both lanes.
    memory_used: int  #: By all that Redis holds, in bytes.
    memory_limit: int  #: Redis's `maxmemory`; 0 where none is set or told.


def read(redis: Redis) -> Load:
    """The present load, in one round trip."""
    second = int(time.time())
    seconds = range(second - _WINDOW_SECONDS + 1, second + 1)
    pipe = redis.pipeline(transaction=False)
    pipe.info("memory")
    pipe.hget(keys.HELD, "total")
    for lane in Lane:
        pipe.get(keys.outstanding_images(lane))
        pipe.mget([keys.drained(lane, each) for each in seconds])
    memory, held, *lanes = pipe.execute()
    by_lane = list(zip(Lane, lanes[::2], lanes[1::2], strict=True))
    return Load(
        images={lane: int(images or 0) for lane, images, _ in by_lane},
        drained={lane: _rate(counts) for lane, _, counts in by_lane},
        bytes_held=int(held or 0),
        memory_used=memory["used_memory"],
        memory_limit=memory.get("maxmemory", 0),  # some hosted ones do not tell
    )


def _rate(counts: Sequence[Any]) -> float:
    """Images per second since the first second of the window that had any."""
    images = [int(count or 0) for count in counts]
    while images and not images[0]:
        del images[0]
    return sum(images) / len(images) if images else 0.0

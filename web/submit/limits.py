"""The limits of admission: how long until a request has room."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from shared.jobs import Lane
from shared.records.load.backlog import Load

#: Share of the bytes that the bulk lane may fill, so that it leaves room for single pictures.
_BULK_SHARE = 0.8

#: Share of the interactive lane that jobs of several pictures may fill. A user who sends a single
#: picture waits for its answer.
_SEVERAL_SHARE = 0.5

#: Share of Redis's memory that admission fills. The rest is for Celery's notes and for what several
#: web processes accept in the same moment.
_MEMORY_SHARE = 0.9

#: Share of a limit that should be free when a refused client returns, or the next is refused again.
_HEADROOM = 0.1

#: `Retry-After` where nothing drains, and its longest value.
NOTHING_DRAINS_SECONDS = 30
_LONGEST_SECONDS = 300


class Need(NamedTuple):
    """What a request needs."""

    images: int = 0  #: That a worker must see.
    size: int = 0  #: Bytes of these images.
    records: int = 0  #: Bytes of the records and results (shared.records.footprint).


NOTHING = Need()


@dataclass(frozen=True)
class Present:
    """What is there, and what other requests of this process have reserved."""

    images: int  #: Of the lane.
    all_images: int  #: Of both lanes.
    size: int  #: Bytes of the images of both lanes.
    memory: int  #: Bytes that Redis uses, with the results of all outstanding images.


@dataclass(frozen=True, kw_only=True)
class Limits:
    images: Mapping[Lane, int]  #: That may be outstanding.
    size: int  #: Bytes of images in Redis.

    def seconds_until_room(
        self, lane: Lane, need: Need, present: Present, load: Load, own: Need = NOTHING
    ) -> int:
        """0 if there is room; otherwise an estimate from how fast the lanes drained lately.

        `own` is what the request has reserved, which is not in `present`. A limit is asked for only
        if the request needs more than that.
        """
        share = _BULK_SHARE if lane is Lane.BULK else 1
        if need.images > own.images:
            limit = self._images(lane, need)
            if over := _over(present.images, need.images, limit):
                return _seconds(over + _HEADROOM * limit, load.drained[lane])
        over, limit = 0, int(self.size * share)
        if need.size > own.size:
            over = _over(present.size, need.size, limit)
        if load.memory_limit and need.size + need.records > own.size + own.records:
            of_memory = int(memory_for_all(load) * share)
            over_memory = present.memory + need.size + need.records - of_memory
            over, limit = max((over, limit), (over_memory, of_memory))
        if over <= 0:
            return 0
        size_of_one = max(1, present.size / max(1, present.all_images))
        return _seconds((over + _HEADROOM * limit) / size_of_one, sum(load.drained.values()))

    def _images(self, lane: Lane, need: Need) -> int:
        several = lane is Lane.INTERACTIVE and need.images > 1
        return int(self.images[lane] * _SEVERAL_SHARE) if several else self.images[lane]


def memory_for_all(load: Load) -> int:
    """Bytes of Redis's memory that admission fills."""
    return int(_MEMORY_SHARE * load.memory_limit)


def _over(present: int, more: int, limit: int) -> int:
    """By how much `more` is too much; nothing is where nothing else is."""
    return max(0, present + more - limit) if present else 0


def _seconds(images: float, rate: float) -> int:
    if not rate:
        return NOTHING_DRAINS_SECONDS
    return min(_LONGEST_SECONDS, max(1, math.ceil(images / rate)))

"""The limits of admission, and what a request needs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from shared.jobs import Lane
from shared.records import footprint
from shared.records.load.backlog import Load
from web.submit.budgets import JUST_BEGUN_SECONDS, NOTHING_DRAINS_SECONDS, Budget, Budgets

#: Share of the bytes that the bulk lane may fill, so that it leaves room for single pictures.
_BULK_SHARE = 0.8

#: Share of the interactive lane that jobs of several pictures may fill. A user who sends a single
#: picture waits for its answer. One client can fill half of the lane with single pictures, and must
#: leave room for the jobs of others.
_SEVERAL_SHARE = 0.75

#: Share of Redis's memory that admission fills. The rest is for Celery's notes and for what several
#: web processes accept in the same moment.
_MEMORY_SHARE = 0.9

#: Share of that memory which a lane may keep free for results to come. Without it, many tiny
#: pictures would take the memory of large ones for minutes.
_RESULTS_SHARE = 0.25


class Need(NamedTuple):
    """What a request needs."""

    images: int = 0  #: That a worker must see.
    size: int = 0  #: Bytes of these images.
    #: Bytes of memory for the records and results, and for images beyond their own bytes
    #: (shared.records.footprint).
    records: int = 0
    today: int = 0  #: That count for the day, also if no worker must see them.


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
    images: Mapping[Lane, int]  #: That may be outstanding with enough memory.
    size: int  #: Bytes of images in Redis.
    form: int  #: Bytes of the largest form.

    def most_at_once(self, need: Need, load: Load) -> int:
        """Bytes of images that a request may have, which are stored together.

        Two of the largest forms of others fit into the bulk lane beside them, or as much again.
        """
        most = self._beside_others(self.size)
        if load.memory_limit:
            of_memory = self._beside_others(memory_for_all(load))
            most = min(most, of_memory * need.size // (need.size + need.records))
        return most

    def _beside_others(self, limit: int) -> int:
        of_bulk = int(_BULK_SHARE * limit)
        return max(of_bulk - 2 * self.form, of_bulk // 2)

    def budgets(
        self, lane: Lane, need: Need, present: Present, load: Load, own: Need = NOTHING
    ) -> Budgets:
        """The limits that a request needs more of than it has reserved.

        `own` is what it has reserved, which is not in `present`.
        """
        share = _BULK_SHARE if lane is Lane.BULK else 1
        images = size = memory = None
        if need.images > own.images:
            most = self.images_of(lane, load)
            if lane is Lane.INTERACTIVE and need.images > 1:
                most = int(most * _SEVERAL_SHARE)
            images = Budget(present.images, need.images, most)
        if need.size > own.size:
            limit = int(self.size * share)
            size = Budget(present.size, need.size, limit, limit - int(self.size * _BULK_SHARE))
        if load.memory_limit and need.size + need.records > own.size + own.records:
            more, limit = need.size + need.records, int(memory_for_all(load) * share)
            reserve = limit - int(memory_for_all(load) * _BULK_SHARE)
            memory = Budget(present.memory, more, limit, reserve)
        rates = load.drained[lane], _bytes_drained(present, load)
        return Budgets(images, size, memory, *rates, _without_rate(lane, load))

    def images_of(self, lane: Lane, load: Load) -> int:
        """Images that may be outstanding in a lane: fewer where Redis has little memory."""
        if not load.memory_limit:
            return self.images[lane]
        of_memory = int(_RESULTS_SHARE * memory_for_all(load) / footprint.RESULT)
        return min(self.images[lane], of_memory)


def memory_for_all(load: Load) -> int:
    """Bytes of Redis's memory that admission fills."""
    return int(_MEMORY_SHARE * load.memory_limit)


def _bytes_drained(present: Present, load: Load) -> float:
    size_of_one = max(1, present.size / max(1, present.all_images))
    return size_of_one * sum(load.drained.values())


def _without_rate(lane: Lane, load: Load) -> int:
    at_work = load.workers[lane] and load.order(lane).works
    return JUST_BEGUN_SECONDS if at_work else NOTHING_DRAINS_SECONDS

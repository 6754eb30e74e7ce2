"""The speed of a lane: how many images a second its workers have committed lately.

All times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.client import Pipeline

from shared import keys
from shared.jobs import Lane

#: Seconds that the rate covers: long enough for several micro-batches, and still recent.
WINDOW_SECONDS = 10


def read(pipe: Pipeline, lane: Lane, now: float) -> None:
    """Add to a pipeline: read the images that were committed in each second of the window."""
    first = _first_second(now)
    pipe.mget([keys.drained(lane, first + k) for k in range(WINDOW_SECONDS)])


def rate(counts: Sequence[Any], now: float) -> float:
    """Images per second, from the first second of the window that had any until now.

    `counts` is the reply to `read` at the same `now`.
    """
    images = [int(count or 0) for count in counts]
    while images and not images[0]:
        del images[0]
    seconds = max(1.0, len(images) - 1 + now % 1)  # the last second is not over
    return sum(images) / seconds


def rate_since(counts: Sequence[Any], start: float, now: float) -> float:
    """Images per second from `start` until now, at most over the window.

    Where seconds pass before the first commit, perhaps no worker was there, because the lane had
    been scaled to zero. Then the rate counts from the end of the first second with commits.
    """
    first = _first_second(now)
    start = max(start, first)
    images = [int(count or 0) for count in counts[int(start) - first :]]
    empty = next((k for k, count in enumerate(images) if count), 0)
    working = now - (int(start) + empty + 1)
    if empty and working >= 1 and sum(images[empty + 1 :]):
        return sum(images[empty + 1 :]) / working
    return sum(images) / max(1.0, now - start)


def _first_second(now: float) -> int:
    return int(now) - WINDOW_SECONDS + 1

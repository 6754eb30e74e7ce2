"""The order in which messages that wait in a worker get into its batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from workers.batching.batch import client, images


class SmallFirst:
    """Small messages come first, because a user waits for a single picture.

    They overtake the oldest message only once. Clients take turns: the first message of each comes
    before the second of any. A message that names no client has a turn of its own.
    """

    def __init__(self) -> None:
        self._overtaken: Any = None  #: The oldest message, if smaller ones have gone before it.

    def of(self, waiting: Sequence[Any]) -> list[Any]:
        """`waiting` has the oldest message first."""
        oldest = waiting[0]
        if oldest is self._overtaken:
            return _in_turns(waiting)
        self._overtaken = oldest
        return _in_turns(sorted(waiting, key=images))


def _in_turns(requests: Sequence[Any]) -> list[Any]:
    counts: Counter[str] = Counter()
    turns = []
    for request in requests:
        name = client(request)
        turns.append(counts[name] if name else 0)
        counts[name] += 1
    in_order = sorted(range(len(requests)), key=turns.__getitem__)
    return [requests[number] for number in in_order]


class Turns:
    """Clients take turns: the one comes first that was served the longest time ago."""

    def __init__(self) -> None:
        self._served: list[str] = []  #: The clients that have messages. The latest comes last.

    def of(self, waiting: Sequence[Any]) -> list[Any]:
        """`waiting` has the oldest message first. The first one that this gives is served."""
        turns = {name: turn for turn, name in enumerate(self._served)}
        in_order = sorted(waiting, key=lambda request: turns.get(client(request), -1))
        served, names = client(in_order[0]), set(map(client, waiting))
        self._served = [each for each in self._served if each in names and each != served]
        self._served.append(served)
        return in_order

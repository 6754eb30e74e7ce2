"""The order in which messages that wait in a worker get into its batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.turns import in_turns
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
            return in_turns(waiting, _owner)
        self._overtaken = oldest
        return in_turns(sorted(waiting, key=images), _owner)


def _owner(request: Any) -> str:
    return client(request) or str(request.id)


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

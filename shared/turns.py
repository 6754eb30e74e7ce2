"""Taking turns: the first thing of each owner, then the second of each, and so on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")


def in_turns(things: Iterable[_T], owner: Callable[[_T], str]) -> list[_T]:
    """The things in turns. Those of one owner, and the owners in a turn, keep their order."""
    counts: Counter[str] = Counter()
    numbered = []
    for thing in things:
        numbered.append((counts[owner(thing)], thing))
        counts[owner(thing)] += 1
    return [thing for _, thing in sorted(numbered, key=lambda each: each[0])]

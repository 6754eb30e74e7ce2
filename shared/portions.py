"""Items in their order, together as far as they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def portions(items: Iterable[T], *, size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Lists whose sizes make no more than `most` together; what is larger by itself is alone."""
    together: list[T] = []
    room = most
    for item in items:
        if together and size(item) > room:
            yield together
            together, room = [], most
        together.append(item)
        room -= size(item)
    if together:
        yield together

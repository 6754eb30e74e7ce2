"""Split a sequence into portions of a limited size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def portions(items: Iterable[T], *, size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Lists of items in their order. The sizes in a list add up to at most `most`.

    An item that is larger than `most` is alone in its list.
    """
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

"""Reads large pictures of a micro-batch from Redis, a few at a time, shortly before their decoding.

A micro-batch may have 32 pictures of 20 MB. A pool process never holds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from shared.jobs import PartRef
from shared.records.work import PartWork

#: Bytes of pictures that are read at once. A single picture may have more.
_BYTES_AT_ONCE = 4 * 2**20

#: A picture: its part, and its position in it.
Place = tuple[PartWork, int]

#: Gives the bytes of pictures; None for one that has expired.
Read = Callable[[Sequence[tuple[PartRef, int]]], list[bytes | None]]


class PictureReader:
    def __init__(self, read: Read) -> None:
        self._read = read
        self._ahead: dict[tuple[PartRef, int], bytes | None] = {}

    def take(self, place: Place, following: Iterable[Place]) -> bytes | None:
        """The bytes of a picture, or None if it has expired. They are not kept.

        `following` are the pictures that will be taken next.
        """
        work, position = place
        if position in work.images or position not in work.sizes:
            return work.images.get(position)
        if (work.ref, position) not in self._ahead:
            wanted = list(_group(place, following))
            # None of those that were read before is wanted any more.
            self._ahead = dict(zip(wanted, self._read(wanted), strict=True))
        return self._ahead.pop((work.ref, position))


def _group(first: Place, following: Iterable[Place]) -> Iterator[tuple[PartRef, int]]:
    """The first picture, and the next ones as long as all together have few bytes."""
    work, position = first
    yield work.ref, position
    room = _BYTES_AT_ONCE - work.sizes[position]
    for work, position in following:
        room -= work.sizes.get(position, 0)
        if room < 0:
            return
        if position in work.sizes and position not in work.images:
            yield work.ref, position

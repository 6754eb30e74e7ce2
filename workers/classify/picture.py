"""The pictures of a micro-batch, in the order in which they are decoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.records.work import PartWork
from shared.jobs import PartRef
from shared.turns import in_turns
from workers.classify.reading import Place
from workers.classify.slow_clients import LIGHT, SlowClients


@dataclass(frozen=True)
class Picture:
    work: PartWork
    position: int
    slow: bool

    @property
    def place(self) -> Place:
        return self.work, self.position

    @property
    def client(self) -> str:
        """A job of an older version names none."""
        return self.work.client or self.work.ref.job_id


def in_rounds(pictures: Sequence[Picture], slow_clients: SlowClients) -> list[Picture]:
    """The first picture of each client, then the second of each, and so on.

    All those of heavy clients come last. Beside much other work, one of them may take the whole
    time of a batch, whose other pictures would be put back again and again.
    """
    turns = in_turns(pictures, lambda picture: picture.client)
    return sorted(turns, key=lambda picture: slow_clients.heaviness(picture.client))


def whole_parts_in_rounds(pictures: Sequence[Picture], slow_clients: SlowClients) -> list[Picture]:
    """The first part of each client, then the second of each; those of heavy clients last."""
    of_part: dict[PartRef, list[Picture]] = {}
    for picture in pictures:
        of_part.setdefault(picture.work.ref, []).append(picture)
    firsts = [part[0] for part in of_part.values()]
    return [
        picture for first in in_rounds(firsts, slow_clients) for picture in of_part[first.work.ref]
    ]


def first_of_the_heaviest(pictures: Sequence[Picture], slow_clients: SlowClients) -> Picture | None:
    """The picture that could wait for ever behind lighter ones. None if no client is heavy."""
    weighed = [(slow_clients.heaviness(each.client), each) for each in pictures]
    heaviest = max((heaviness for heaviness, _ in weighed), default=LIGHT)
    if heaviest == LIGHT:
        return None
    return next(each for heaviness, each in weighed if heaviness == heaviest)


def parts_of(pictures: Iterable[Picture]) -> dict[PartRef, set[int]]:
    """The parts of pictures: reference -> positions of slow pictures."""
    parts: dict[PartRef, set[int]] = {}
    for picture in pictures:
        slow = parts.setdefault(picture.work.ref, set())
        if picture.slow:
            slow.add(picture.position)
    return parts

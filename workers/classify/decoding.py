"""Decodes the pictures of a micro-batch, in runs, within a budget of the batch.

A picture that is slow to decode must not delay others. So each picture is first tried for a short
time. If its header says that it has many pixels, it is not even tried. A slow picture is put back
into the queue and gets a batch of its own. A batch also ends when its budget is spent.

Many pictures of one client, each of them fast enough, must not delay those of another either. So
the clients of a batch share it in rounds, and the rest waits behind what has come meanwhile. One
that has used the time of a run lets the others go first. A client that has lately sent a slow
picture comes last. One such picture is decoded in any case, so that no client waits for ever.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.errors import ClassifierError, DecodeTimeout, ImageExpired
from shared.jobs import Lane, Outcome, PartRef
from shared.records.work import PartWork
from shared.settings import Settings
from shared.turns import in_turns
from workers.classify.reading import PictureReader, Place, Read
from workers.classify.slow_clients import SlowClients
from workers.decode.decoder import Decoder, Trial

#: A photo that is decoded in one call may take so many times the first try. To decode a large HEIC
#: once more would cost other clients more than this does.
_IN_A_CALL = 3


@dataclass(frozen=True, kw_only=True)
class DecodeBudget:
    """Seconds that decoding may take."""

    batch: float  #: Of a batch, after which it decodes nothing more. It decodes at least one.
    run: float = math.inf  #: Of a run, which then ends, so that its pictures are answered.
    trial: Trial | None = None  #: Limits of the first try of a picture. None without.

    @classmethod
    def of(cls, settings: Settings) -> DecodeBudget:
        """A batch ends well within its time limit, and soon for other clients.

        In a second it decodes some ten photos of 12 megapixels. A run of the bulk lane has the time
        for a whole part of them, because shorter runs took a tenth more time.
        """
        most = settings.batch_time_limit_seconds / 3
        seconds = settings.max_decode_seconds
        if settings.lane is Lane.BULK:
            return cls(batch=min(seconds, most), run=seconds / 2)
        first = seconds / 10
        trial = Trial(first, settings.max_image_pixels // 3, call_seconds=_IN_A_CALL * first)
        return cls(batch=min(seconds / 3, most), run=first, trial=trial)


@dataclass(frozen=True)
class Ready:
    """A decoded picture, and the item to which its outcome belongs."""

    work: PartWork
    position: int
    pixels: NDArray[np.uint8]
    preprocess_ms: float


@dataclass
class Run:
    """Pictures that go through the engine together, and the outcomes of those that cannot."""

    ready: list[Ready] = field(default_factory=list)
    failed: list[tuple[PartWork, int, Outcome]] = field(default_factory=list)

    @property
    def pictures(self) -> int:
        return len(self.ready) + len(self.failed)


@dataclass(frozen=True)
class _Picture:
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


class BatchDecoding:
    def __init__(
        self,
        decoder: Decoder,
        read: Read,
        works: Sequence[PartWork],
        budget: DecodeBudget,
        *,
        pictures_at_once: int,
        slow: bool,
        slow_clients: SlowClients,
    ) -> None:
        """`read` reads pictures that did not come with `works`. `slow`: the batch may be slow."""
        self._decoder = decoder
        self._pictures = PictureReader(read)
        self._budget = budget
        self._pictures_at_once = pictures_at_once
        every = [_Picture(work, k, k in work.slow) for work in works for k in work.digests]
        in_rounds = _in_rounds if budget.trial else _whole_parts_in_rounds
        every = in_rounds(every, slow_clients)
        self._left = deque(sorted(every, key=lambda picture: picture.slow))
        self._trial = budget.trial
        if budget.trial and len(every) == 1 and (slow or every[0].client not in slow_clients):
            # No other picture waits for its try, and a second one would take longer.
            self._trial = None if slow else budget.trial._replace(cpu_seconds=budget.batch)
        #: The picture that is decoded also if the budget is spent before.
        self._owed = next((each for each in self._left if each.client in slow_clients), None)
        self._decodes_slow = slow or budget.trial is None
        self._slow_clients = slow_clients
        self._spent = 0.0
        #: Seconds that the next picture of a client will take: as many as its latest one.
        self._expected: dict[str, float] = defaultdict(float)
        self._spent_by: dict[str, float] = defaultdict(float)  #: The seconds of each client.
        self._begun: PartWork | None = None  #: The part whose picture was decoded last.

    @property
    def over(self) -> bool:
        """Whether there is no further run.

        Other clients may have sent pictures meanwhile. They wait for one run of a slow client.
        """
        if not self._left or (self._left[0].slow and not self._decodes_slow):
            return True
        client = self._left[0].client
        delays = not self._decodes_slow and client in self._slow_clients
        most = self._budget.run if delays else self._budget.batch
        return self._spent + self._expected[client] >= most and self._left[0] is not self._owed

    def left(self) -> dict[PartRef, set[int]]:
        """The parts that are not finished: reference -> positions of slow pictures.

        The part that spent the budget is the last, or it would spend the next one, too.
        """
        parts: dict[PartRef, set[int]] = {}
        for picture in sorted(self._left, key=lambda each: each.work is self._begun):
            slow = parts.setdefault(picture.work.ref, set())
            if picture.slow:
                slow.add(picture.position)
        return parts

    def next_run(self) -> Run:
        """Decode until the engine has enough pictures of whole parts.

        A run also ends before and after a slow picture, so that the others do not wait for it, and
        before a picture of a client that has lately sent a slow one. It ends early if its pictures
        took long together.
        """
        run = Run()
        ends_at = self._spent + self._budget.run
        while not self.over:
            picture = self._left.popleft()
            slow = self._decode(picture, run)
            if slow or self.over or self._may_be_slow(self._left[0]):
                break
            whole = self._left[0].work is not picture.work
            if self._spent >= ends_at or (whole and run.pictures >= self._pictures_at_once):
                break
        return run

    def _may_be_slow(self, picture: _Picture) -> bool:
        tries = self._budget.trial is not None
        return picture.slow or (tries and picture.client in self._slow_clients)

    def _decode(self, picture: _Picture, run: Run) -> bool:
        """Decode a picture into the run. Returns whether it was decoded and is slow."""
        work, position = picture.work, picture.position
        self._begun = work
        self._owed = None if picture.client in self._slow_clients else self._owed
        began = time.perf_counter()
        data = self._pictures.take(picture.place, (each.place for each in self._left))
        self._spend(picture.client, time.perf_counter() - began)
        if data is None:
            run.failed.append((work, position, Outcome.failure(ImageExpired())))
            return False
        trial = None if picture.slow else self._trial
        pixels, milliseconds, slow = self._decoder.decode(data, trial=trial)
        self._spend(picture.client, milliseconds / 1000)
        self._expected[picture.client] = milliseconds / 1000
        if trial is not None and isinstance(pixels, DecodeTimeout):
            self._left.append(_Picture(work, position, slow=True))
            self._slow_clients.add(picture.client)
            return False
        if slow or (not self._budget.trial and milliseconds / 1000 > self._budget.run):
            self._slow_clients.add(picture.client)
        if isinstance(pixels, ClassifierError):
            run.failed.append((work, position, Outcome.failure(pixels)))
        else:
            run.ready.append(Ready(work, position, pixels, milliseconds))
        return picture.slow

    def _spend(self, client: str, seconds: float) -> None:
        """Let others go first when a client has used the time of one more run."""
        runs = self._runs_of(client)
        self._spent += seconds
        self._spent_by[client] += seconds
        if self._runs_of(client) > runs or self._spent >= self._budget.batch:
            self._left = deque(sorted(self._left, key=self._precedence))

    def _precedence(self, picture: _Picture) -> tuple[bool, bool, float]:
        """The lowest one is decoded next."""
        is_owed = picture is self._owed and self._spent >= self._budget.batch
        return picture.slow, not is_owed, self._runs_of(picture.client)

    def _runs_of(self, client: str) -> float:
        return self._spent_by[client] // self._budget.run


def _in_rounds(pictures: Sequence[_Picture], slow_clients: SlowClients) -> list[_Picture]:
    """The first picture of each client, then the second of each, and so on; slow clients last."""
    turns = in_turns(pictures, lambda picture: picture.client)
    return sorted(turns, key=lambda picture: picture.client in slow_clients)


def _whole_parts_in_rounds(
    pictures: Sequence[_Picture], slow_clients: SlowClients
) -> list[_Picture]:
    """The first part of each client, then the second of each; slow clients last."""
    of_part: dict[PartRef, list[_Picture]] = {}
    for picture in pictures:
        of_part.setdefault(picture.work.ref, []).append(picture)
    firsts = [part[0] for part in of_part.values()]
    return [
        picture for first in _in_rounds(firsts, slow_clients) for picture in of_part[first.work.ref]
    ]

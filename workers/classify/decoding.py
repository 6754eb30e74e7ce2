"""Decodes the pictures of a micro-batch, in runs, within a budget of the batch.

A picture that is slow to decode must not delay others. In the lane `interactive` each picture is
first tried for a short time. If its header says that it has many pixels, it is not even tried. A
slow picture is put back into the queue and gets a batch of its own. A batch also ends when its
budget is spent.

Many pictures of one client, each of them fast enough, must not delay those of another either. So
the clients of a batch share it in rounds, and the rest waits behind what has come meanwhile. One
that has used the time of its turn lets the others go first. A client that has lately sent a slow
picture comes last. One such picture is decoded in any case, so that no client waits for ever.

In the lane `bulk` there is no first try, because it would cost a folder of large pictures much
time. There a client is slow if one picture or one batch took long. Then all of its parts run alone.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shared.errors import ClassifierError, DecodeTimeout, ImageExpired
from shared.jobs import Outcome, PartRef
from shared.records.work import PartWork
from workers.classify.background import Background
from workers.classify.budget import DecodeBudget
from workers.classify.picture import (
    Picture,
    first_of_the_heaviest,
    in_rounds,
    parts_of,
    whole_parts_in_rounds,
)
from workers.classify.reading import PictureReader, Read
from workers.classify.slow_clients import SlowClients
from workers.decode.decoder import Decoded, Decoder, Trial
from workers.decode.limits import GivenUp


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
        others: bool,
        slow_clients: SlowClients,
        background: Background,
        recalled: Callable[[], bool],
    ) -> None:
        """`read` reads pictures that did not come with `works`.

        `slow`: the batch may be slow. It then ends early once `recalled` returns true, and gives
        heavy pictures low priority if `others` are there.
        """
        self._decoder = decoder
        self._pictures = PictureReader(read)
        self._budget = budget
        self._pictures_at_once = pictures_at_once
        every = [Picture(work, k, k in work.slow) for work in works for k in work.digests]
        slow_clients.seen({picture.client for picture in every})
        order = in_rounds if budget.trial else whole_parts_in_rounds
        every = order(every, slow_clients)
        self._left = deque(sorted(every, key=lambda picture: picture.slow))
        self._trial = budget.trial
        if budget.trial and len(every) == 1 and (slow or every[0].client not in slow_clients):
            # No other picture waits for its try, and a second one would take longer.
            self._trial = None if slow else budget.trial._replace(cpu_seconds=budget.batch)
        #: The picture that is decoded also if the budget is spent before.
        self._owed = first_of_the_heaviest(self._left, slow_clients)
        self._runs_alone = slow
        #: Heavier pictures have low priority in a batch that runs alone.
        self._low_priority_above = min(budget.slow, budget.heavy) if others else budget.slow
        self._most = budget.alone if slow and budget.alone else budget.batch
        self._recalled = recalled if slow else lambda: False
        self._ends_at = time.monotonic() + budget.longest
        self._gave_up = False
        self._slow_clients = slow_clients
        self._background = background
        self._spent = 0.0
        #: Seconds that the next picture of a client will take: as many as its latest one.
        self._expected: dict[str, float] = defaultdict(float)
        self._spent_by: dict[str, float] = defaultdict(float)  #: The seconds of each client.
        self._used_by: dict[str, float] = defaultdict(float)  #: The processor time of each.
        self._begun: PartWork | None = None  #: The part whose picture was decoded last.

    @property
    def over(self) -> bool:
        """Whether there is no further run.

        Other clients may have sent pictures meanwhile. They wait for one run of a slow client.
        """
        if not self._left or self._gave_up or self._recalled():
            return True
        picture, client = self._left[0], self._left[0].client
        most = self._most
        if not self._runs_alone:
            if picture.slow or self._is_slow_in_bulk(client):
                return True
            most = self._budget.run if client in self._slow_clients else most
        return self._spent + self._expected[client] >= most and picture is not self._owed

    def _is_slow_in_bulk(self, client: str) -> bool:
        return self._budget.trial is None and client in self._slow_clients

    def take_slow_clients(self) -> dict[PartRef, set[int]]:
        """The parts of slow clients in bulk, which this batch would only put back: as `left`.

        They are no longer a part of the batch. So they need not wait for its end.
        """
        if self._runs_alone:
            return {}
        parts = parts_of(each for each in self._left if self._is_slow_in_bulk(each.client))
        self._left = deque(each for each in self._left if each.work.ref not in parts)
        self._owed = first_of_the_heaviest(self._left, self._slow_clients)
        return parts

    def left(self) -> dict[PartRef, set[int]]:
        """The parts that are not finished: reference -> positions of slow pictures.

        The part that spent the budget is the last, or it would spend the next one, too.
        """
        return parts_of(sorted(self._left, key=lambda each: each.work is self._begun))

    def alone(self) -> set[PartRef]:
        """The parts of `left` that are to run alone, also if they have no slow pictures."""
        if self._budget.trial:
            return set()
        return {
            picture.work.ref
            for picture in self._left
            if self._runs_alone or picture.client in self._slow_clients
        }

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

    def _may_be_slow(self, picture: Picture) -> bool:
        tries = self._budget.trial is not None
        return picture.slow or (tries and picture.client in self._slow_clients)

    def _decode(self, picture: Picture, run: Run) -> bool:
        """Decode a picture into the run. Returns whether it was decoded and is slow."""
        work, position = picture.work, picture.position
        self._begun = work
        if picture is self._owed or picture.client in self._slow_clients:
            self._owed = None
        if self._tries(picture) and self._slow_clients.skips(picture.client):
            return self._put_off(picture)
        data = self._read(picture)
        if data is None:
            run.failed.append((work, position, Outcome.failure(ImageExpired())))
            return False
        try:
            decoded = self._decoded(data, picture)
        except GivenUp:
            return self._after_giving_up(picture)
        self._expected[picture.client] = decoded.milliseconds / 1000
        self._spend(picture.client, decoded.milliseconds / 1000)
        if self._tries(picture) and isinstance(decoded.pixels, DecodeTimeout):
            self._slow_clients.add(picture.client, decoded.cpu_seconds)
            return self._put_off(picture)
        self._remember(picture.client, decoded)
        if isinstance(decoded.pixels, ClassifierError):
            run.failed.append((work, position, Outcome.failure(decoded.pixels)))
        else:
            run.ready.append(Ready(work, position, decoded.pixels, decoded.milliseconds))
        return picture.slow

    def _after_giving_up(self, picture: Picture) -> bool:
        if self._runs_alone:
            self._gave_up = True
            self._left.appendleft(picture)
            return False
        self._slow_clients.add(picture.client, self._budget.slow)
        self._spend(picture.client, self._budget.picture)
        return self._put_off(picture)

    def _tries(self, picture: Picture) -> Trial | None:
        return None if picture.slow else self._trial

    def _put_off(self, picture: Picture) -> bool:
        self._left.append(Picture(picture.work, picture.position, slow=True))
        return False

    def _read(self, picture: Picture) -> bytes | None:
        began = time.perf_counter()
        data = self._pictures.take(picture.place, (each.place for each in self._left))
        self._spend(picture.client, time.perf_counter() - began)
        return data

    def _remember(self, client: str, decoded: Decoded) -> None:
        """Whether the client is slow. In bulk it is also if its next picture would take too much.

        Processor time counts, because on a busy machine everything takes long. But there, heavy
        pictures spend the time of a batch before they have used much.
        """
        slow, seconds = decoded.slow, decoded.cpu_seconds
        self._used_by[client] += seconds
        if not self._budget.trial:
            much = self._used_by[client] + seconds >= self._budget.much
            spends_all = self._spent_by[client] + self._expected[client] >= self._most
            heavy = seconds > self._budget.heavy
            slow = much or (spends_all and heavy) or seconds > self._budget.slow
        if slow:
            self._slow_clients.add(client, seconds)
        else:
            self._slow_clients.took(client, seconds)

    def _decoded(self, data: bytes, picture: Picture) -> Decoded:
        """Raises GivenUp if the batch was recalled meanwhile, or would take too long."""
        decode = partial(self._decoder.decode, data, trial=self._tries(picture))
        if not self._runs_alone:
            return decode(give_up=self._gives_up(self._budget.picture))
        latest = self._slow_clients.seconds(picture.client)
        seconds = self._background.seconds
        if seconds and (picture.slow or latest > self._low_priority_above):
            with suppress(GivenUp):
                return decode(give_up=self._gives_up(seconds), low_priority=True)
            if not self._recalled():
                self._background.got_no_time()
        return decode(give_up=self._gives_up())

    def _gives_up(self, seconds: float = math.inf) -> Callable[[], bool]:
        ends_at = min(time.monotonic() + seconds, self._ends_at)
        return lambda: self._recalled() or time.monotonic() > ends_at

    def _spend(self, client: str, seconds: float) -> None:
        """Let others go first when a client has used the time of one more turn."""
        turns = self._turns_of(client)
        self._spent += seconds
        self._spent_by[client] += seconds
        if self._turns_of(client) > turns or self._spent >= self._most:
            self._left = deque(sorted(self._left, key=self._precedence))

    def _precedence(self, picture: Picture) -> tuple[bool, bool, float]:
        """The lowest one is decoded next."""
        is_owed = picture is self._owed and self._spent >= self._most
        return picture.slow, not is_owed, self._turns_of(picture.client)

    def _turns_of(self, client: str) -> float:
        return self._spent_by[client] // self._budget.turn

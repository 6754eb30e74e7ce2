"""What reading the headers of an archive may cost: their fields, and processor time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from shared.errors import ArchiveTooLarge

#: Usual entries have some ten fields. Those of macOS have some twenty, in an extended header.
_FOR_EACH_ENTRY = 48
_FOR_EVERY_ARCHIVE = 10_000

#: The time is read once for so many calls.
_CALLS = 256

#: Work between two rests.
_SHIFT_SECONDS = 0.001


class Effort:
    """Counts the fields of headers, and the time.

    A field takes a microsecond, and packs to almost nothing. The limit of time is for whatever no
    other limit foresees.
    """

    def __init__(
        self,
        most_seconds: float = math.inf,
        clock: Callable[[], float] = time.thread_time,
        rest: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`most_seconds` of this thread's processor time are allowed from now on.

        `rest` is called now and then, with the seconds of work since the last time.
        """
        self._left = _FOR_EVERY_ARCHIVE
        self._calls = 0
        self._clock = clock
        self._rest = rest
        self._rested_at = clock()
        self._ends_at = self._rested_at + most_seconds

    def resume(self) -> None:
        """Work goes on, perhaps in another thread, after a time that is not counted."""
        self._rested_at = self._clock()

    def add_entry(self) -> None:
        """Allow the fields of one more entry. Raises ArchiveTooLarge if the time is over."""
        self._left += _FOR_EACH_ENTRY
        self.check_time()

    def spend(self, fields: int = 1) -> None:
        """Count fields. Raises ArchiveTooLarge if there are too many, or the time is over."""
        self._left -= fields
        if self._left < 0:
            raise ArchiveTooLarge("The headers of the archive have too many fields.")
        self._calls += 1
        if self._calls % _CALLS == 0:
            self.check_time()

    def check_time(self) -> None:
        """Raises ArchiveTooLarge if the time is over."""
        now = self._clock()
        if now > self._ends_at:
            raise ArchiveTooLarge(
                "It takes too long to read the archive. Split it into smaller archives."
            )
        if now - self._rested_at > _SHIFT_SECONDS:
            self._rest(now - self._rested_at)
            self._rested_at = now

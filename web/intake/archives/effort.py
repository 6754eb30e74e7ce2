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


class Effort:
    """Counts the fields of headers, and the time.

    A field takes a microsecond, and packs to almost nothing. The limit of time is for whatever no
    other limit foresees.
    """

    def __init__(
        self,
        most_seconds: float = math.inf,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`most_seconds` of this thread's processor time are allowed from now on."""
        self._left = _FOR_EVERY_ARCHIVE
        self._calls = 0
        self._clock = clock
        self._ends_at = clock() + most_seconds

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
        if self._clock() > self._ends_at:
            raise ArchiveTooLarge(
                "It takes too long to read the archive. Split it into smaller archives."
            )

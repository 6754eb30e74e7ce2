"""Low priority for slow pictures, unless it gets no processor time."""

from __future__ import annotations

import time

#: After this time a picture is decoded as usual, because a machine with much other work may leave
#: nothing for low priority.
_SECONDS = 10.0

#: For so long low priority is not tried again. What it would take is missing at the end of a batch.
_STARVED_SECONDS = 60.0


class Background:
    """A pool process keeps it over its batches."""

    def __init__(self) -> None:
        self._starved_until = 0.0

    @property
    def seconds(self) -> float:
        """For how long to decode a picture with low priority now; 0 for not at all."""
        return 0.0 if time.monotonic() < self._starved_until else _SECONDS

    def got_no_time(self) -> None:
        """A picture was not decoded in this time."""
        self._starved_until = time.monotonic() + _STARVED_SECONDS

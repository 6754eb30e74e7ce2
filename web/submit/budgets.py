"""What a request needs of the limits of admission, and how long until it has that."""

from __future__ import annotations

import math
from typing import NamedTuple

#: Share of a limit that should be free when a refused client returns, or the next is refused again.
_HEADROOM = 0.1

#: `Retry-After` where nobody works on the lane, and its longest value.
NOTHING_DRAINS_SECONDS = 30
LONGEST_SECONDS = 300

#: `Retry-After` where workers are there and nothing was drained lately: they have just begun.
JUST_BEGUN_SECONDS = 3


class Budget(NamedTuple):
    """A limit, and what a request needs of it."""

    present: int
    more: int
    limit: int
    reserve: int = 0  #: Of the limit, what the other lane may not fill.

    @property
    def over(self) -> int:
        """By how much it is too much; 0 where nothing else is."""
        return max(0, self.present + self.more - self.limit) if self.present else 0

    def over_share(self, held: int) -> int:
        """By how much it is too much for a client that holds so much already.

        A client may hold as much as it leaves free for others, also in the other lane. So the first
        one gets half of the limit without the reserve, and each further one half of what is left.
        Once only the reserve is free, a client may hold a quarter of it.
        """
        free = self.limit - self.present
        share = max(free - self.reserve, free // 4)
        return max(0, held + self.more - share) if held else 0

    @property
    def may_exceed_a_share(self) -> bool:
        """Whether there can be a client for which it is too much. It would hold all of it."""
        return self.over_share(self.present) > 0


class Budgets(NamedTuple):
    """The limits that a request needs more of; None for the others."""

    images: Budget | None  #: Outstanding in the lane.
    size: Budget | None  #: Bytes of images.
    memory: Budget | None  #: Bytes of Redis's memory.
    images_drained: float  #: A second, in the lane.
    bytes_drained: float  #: A second, in both lanes.
    without_rate: int  #: Seconds until a client returns where nothing was drained lately.

    @property
    def may_exceed_a_share(self) -> bool:
        return any(each and each.may_exceed_a_share for each in self[:3])

    def seconds_until_room(self) -> int:
        """0 if there is room; otherwise an estimate from how fast the lanes drained lately."""
        if self.images and self.images.over:
            return self.seconds_for_images(self.images.over)
        sizes = [each for each in (self.size, self.memory) if each and each.over]
        if not sizes:
            return 0
        worst = max(sizes, key=lambda each: each.over)
        return self._seconds(worst.over + _HEADROOM * worst.limit, self.bytes_drained)

    def seconds_for_images(self, over: float) -> int:
        assert self.images
        return self._seconds(over + _HEADROOM * self.images.limit, self.images_drained)

    def seconds_for_share(self, over: int, budget: Budget) -> int:
        """The same for a share. Of each image that is done, the client has one more free."""
        drained = self.images_drained if budget is self.images else self.bytes_drained
        return self._seconds((over + _HEADROOM * budget.limit) / 2, drained)

    def _seconds(self, amount: float, rate: float) -> int:
        if not rate:
            return self.without_rate
        return min(LONGEST_SECONDS, max(1, math.ceil(amount / rate)))

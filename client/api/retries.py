"""When to try again, and when to stop."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Retries:
    """Exponential backoff with full jitter, within a total time."""

    total_seconds: float = 60  #: From the first attempt; 0 never tries again.
    first_seconds: float = 0.5
    longest_seconds: float = 20

    def pause(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait after the failed attempt, counted from 0.

        At least what the service asks for. The jitter comes on top of it: else all whom it told
        the same would come back together.
        """
        # Bounded before it is raised: attempts may go on for a day.
        longest = min(self.longest_seconds, self.first_seconds * 2 ** min(attempt, 16))
        return (retry_after or 0) + random.uniform(0, longest)

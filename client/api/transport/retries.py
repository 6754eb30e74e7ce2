"""When a failed call is made again, and for how long."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Retries:
    """Exponential backoff with full jitter, within a total time."""

    total_seconds: float = 60  #: From the first attempt; 0 means one attempt.
    first_seconds: float = 0.5
    longest_seconds: float = 20
    #: Also retry while the service cannot be reached and has never answered.
    wait_for_service: bool = True
    wait_for_model: bool = True  #: Also retry while no worker has loaded a model.

    def pause(self, attempt: int, retry_after: float) -> float:
        """Seconds to wait after a failed attempt. Attempts are counted from 0.

        The jitter is added to `retry_after`. Without it, all clients that received the same
        Retry-After would return at the same moment.
        """
        # The exponent is limited: attempts may go on for a day.
        longest = min(self.longest_seconds, self.first_seconds * 2 ** min(attempt, 16))
        return retry_after + random.uniform(0, longest)

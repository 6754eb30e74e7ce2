"""Whether Redis has memory to spare for what only saves time or looks nice.

Results must be kept, so they may fill all of the memory. A full Redis refuses a command that needs
memory, and the commit in the same pipeline would then look as if it had failed.
"""

from __future__ import annotations

import math
import time

from redis import Redis

#: A process reads how full Redis is as often as this.
_FRESH_SECONDS = 5.0


class SpareMemory:
    def __init__(self, redis: Redis, *, share: float) -> None:
        """There is memory to spare until Redis has filled this share of its `maxmemory`."""
        self._redis = redis
        self._share = share
        self._there_is = False
        self._read_at = -math.inf

    def there_is(self) -> bool:
        """A few seconds old at most. Raises RedisError."""
        now = time.monotonic()
        if now - self._read_at > _FRESH_SECONDS:
            memory = self._redis.info("memory")
            limit = memory.get("maxmemory", 0)  # some hosted Redis services leave it out
            self._there_is = not limit or memory["used_memory"] < self._share * limit
            self._read_at = now
        return self._there_is

"""Parts for a model version that no worker of their lane has any more go to another version.

They waited for a while, because a worker of their version may have been restarting. The record of
their job then names that one, and each result names the version that gave it.
"""

from __future__ import annotations

from redis import Redis

from shared import keys
from shared.jobs import Lane
from shared.records.scripts import Script
from shared.serving.model_info import TTL_SECONDS
from shared.serving.model_versions import Versions

#: Parts of one script, with all others of the last client. A part takes Redis less than 50 µs.
_AT_ONCE = 500

_ADOPT = Script("overdue/adopt")


class GoneVersions:
    def __init__(self, redis: Redis, *, seconds: float) -> None:
        """A version is gone if no worker of the lane has had it for so many seconds."""
        self._redis = redis
        self._seconds = seconds

    def successor(self, versions: Versions, version: str) -> str:
        """The version that takes the parts of `version`; empty if that is not gone."""
        return versions.successor if versions.is_gone(version, self._seconds) else ""

    def clear(self, lane: Lane, versions: Versions) -> None:
        """Move the parts that wait for their round, and remove the queues of gone versions.

        The parts in those queues are overdue in the end, and recovery queues them again.
        """
        for version in versions.seen:
            if successor := self.successor(versions, version):
                waiting = self._adopt(lane, version, versions.route(successor), successor)
                self._redis.unlink(keys.queue(lane, version))
                if not waiting and versions.is_gone(version, TTL_SECONDS):
                    self._redis.zrem(keys.versions(lane), version)
                    self._redis.unlink(keys.current_round(lane, version))

    def _adopt(self, lane: Lane, version: str, route: str, successor: str) -> int:
        waiting = _ADOPT(
            self._redis,
            queue=keys.queue(lane, version),
            new_queue=keys.queue(lane, route),
            version=successor,
            most=_AT_ONCE,
        )
        return int(waiting)

"""Whether Redis can keep what the service promises. Each program checks this when it connects."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from shared.errors import ClassifierError

logger = logging.getLogger(__name__)

#: The oldest version that the tests use.
_OLDEST = (6, 2)


class RedisCheck:
    """Logs what is wrong with the settings of Redis, each of it once."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._logged: set[str] = set()

    def __call__(self) -> None:
        """Check now; in an outage do nothing. Raises ClassifierError for a Redis Cluster."""
        try:
            info = self._redis.info()
            settings = self._settings()
        except RedisError:
            return
        if info.get("cluster_enabled"):
            raise ClassifierError(
                "Redis Cluster is not supported, because a job needs several keys at once. Use one "
                "Redis, with replicas and Sentinel if needed."
            )
        for problem in problems(info, settings):
            if problem not in self._logged:
                self._logged.add(problem)
                logger.warning("%s", problem)

    def _settings(self) -> dict[str, str]:
        try:
            return dict(self._redis.config_get("appendfsync"))  # type: ignore[arg-type]
        except ResponseError:  # a managed Redis, or a user of few rights
            return {}


def problems(info: dict[str, Any], settings: dict[str, str]) -> Iterator[str]:
    """`info` is the reply to INFO, `settings` what CONFIG GET has shown."""
    version = str(info.get("redis_version", "0"))
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST:
        yield f"Redis {version} is older than the tested versions. Use Redis 6.2 or newer."
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            f"Redis may delete accepted pictures: its maxmemory-policy is {policy}. Set it to "
            "noeviction."
        )
    if not info.get("maxmemory", 1):
        yield (
            "Redis has no limit on its memory, so the system may kill it when many pictures wait. "
            "Set maxmemory."
        )
    if not info.get("aof_enabled", 1):
        yield (
            "Redis loses accepted pictures when it restarts: it has no append-only file. Set "
            "appendonly yes."
        )
    elif settings.get("appendfsync") == "everysec":
        yield (
            "Redis may answer before it has written, so a crash can lose accepted pictures: its "
            "appendfsync is everysec. Set it to always or no."
        )

"""Connections to Redis, made in one way everywhere."""

from shared.redis_client.client import TIMEOUT_SECONDS, connect
from shared.redis_client.promises import RedisCheck

__all__ = ["TIMEOUT_SECONDS", "RedisCheck", "connect"]

"""Connections to Redis, made in one way everywhere."""

from shared.redis_client.client import TIMEOUT_SECONDS, connect

__all__ = ["TIMEOUT_SECONDS", "connect"]

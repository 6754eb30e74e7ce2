"""How often one client may ask: counted in Redis, so for all web processes together."""

from __future__ import annotations

import time

from flask import Flask, request
from flask_limiter import Limiter, RequestLimit
from redis import Redis

from shared.errors import RateLimited
from web.http import auth


def register(app: Flask, redis: Redis, *, per_minute: int) -> None:
    """Count every call but the open ones; one round trip each.

    In an outage it raises RedisError as everything else does.
    """
    limiter = Limiter(
        _client,
        app=app,
        application_limits=[f"{per_minute}/minute"],
        storage_uri="redis://",  # names the kind; the connections are ours, with their time limits
        storage_options={"connection_pool": redis.connection_pool},  # type: ignore[dict-item]
        key_prefix="rate",
        on_breach=_refuse,
    )
    limiter.request_filter(auth.is_open)


def _client() -> str:
    if name := request.environ.get(auth.OWNER):
        return f"key {name}"
    return f"address {request.remote_addr}"


def _refuse(limit: RequestLimit) -> None:
    # The limiter has rounded up already.
    seconds = max(1, int(limit.reset_at - time.time()))
    raise RateLimited(retry_after_seconds=seconds)

"""Limits how often one client may ask. Redis counts, for all web processes together."""

from __future__ import annotations

import time

from flask import Flask, request
from flask_limiter import Limiter, RequestLimit
from redis import Redis

from shared.errors import RateLimited
from web.http import auth, clients


def register(app: Flask, redis: Redis, *, per_minute: int) -> None:
    """Count every call that needs a key, with one round trip each.

    A call over the limit raises RateLimited. In an outage a call raises RedisError.
    """
    limiter = Limiter(
        lambda: clients.name_of(request),
        app=app,
        application_limits=[f"{per_minute}/minute"],
        storage_uri="redis://",  # only the kind: the pool has the address and the time limits
        storage_options={"connection_pool": redis.connection_pool},  # type: ignore[dict-item]
        key_prefix="rate",
        on_breach=_refuse,
    )
    limiter.request_filter(auth.is_open)


def _refuse(limit: RequestLimit) -> None:
    # `reset_at` is a whole second that has been rounded up.
    seconds = max(1, int(limit.reset_at - time.time()))
    raise RateLimited(retry_after_seconds=seconds)

"""Holds the answer to a submission until replicas of Redis have what it stored.

Replication is asynchronous. Without this, a failover can lose what the old server accepted in its
last moments. With it, a client that gets 200, 201 or 202 is heard by the next server too, if the
failover chooses one of these replicas.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flask import Flask, Response, request
from redis import Redis
from redis.exceptions import RedisError

from shared import keys
from shared.errors import Unavailable
from shared.redis_client import TIMEOUT_SECONDS
from shared.single_flight import SingleFlight
from web.http import errors

logger = logging.getLogger(__name__)

_MILLISECONDS = int(TIMEOUT_SECONDS * 500)

_CHANGES = ("POST", "PUT", "DELETE")


def register(app: Flask, redis: Redis, *, least: int) -> None:
    """Answer 503 instead of a success if fewer than `least` replicas have it within half a second.

    The submission is stored all the same, as when an answer is lost.
    """

    def count(callers: Sequence[None]) -> list[int]:
        """Replicas that have all that was written before this call, once for each caller."""
        pipe = redis.pipeline(transaction=False)
        # WAIT covers the writes of its own connection, and all that Redis wrote before them.
        pipe.hincrby(keys.HELD, "total", 0)
        pipe.wait(least, _MILLISECONDS)
        *_, replicas = pipe.execute()
        return [int(replicas)] * len(callers)

    counts: SingleFlight[None, int] = SingleFlight(count)

    @app.after_request
    def _await_replicas(response: Response) -> Response:
        if request.method not in _CHANGES or response.status_code >= 300:
            return response
        try:
            replicas = counts.ask(None)
        except RedisError as outage:
            reason = str(outage)
        else:
            if replicas >= least:
                return response
            reason = f"{replicas} of {least} replicas have it"
        logger.warning("a submission was stored and not confirmed: %s", reason)
        return errors.answer_to(Unavailable())

"""Checks at the start of a worker that Redis keeps what the service promises."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals

from shared.errors import ClassifierError
from shared.redis_client import RedisCheck, connect
from shared.settings import Settings

logger = logging.getLogger(__name__)


def at_start(settings: Settings) -> None:
    """Check once before the worker connects, and again when it is ready: Redis may be away first.

    A Redis Cluster ends the worker with status 2.
    """
    redis = connect(settings.redis_url, max_connections=1)
    check = RedisCheck(redis)

    def run(**_: Any) -> None:
        try:
            check()
        except ClassifierError as error:
            logger.critical("%s", error)
            raise SystemExit(2) from error
        finally:
            redis.connection_pool.disconnect()

    signals.worker_init.connect(run, weak=False)
    signals.worker_ready.connect(run, weak=False)

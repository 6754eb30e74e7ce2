"""Celery, set up to deliver parts from the lanes' queues in Redis to workers."""

from __future__ import annotations

import re

from celery import Celery
from kombu import Queue

from shared.jobs import Lane
from shared.settings import Settings

_TRANSPORT = {
    # A net below ours: a message that a dead worker took comes back after this. Our own records
    # notice sooner. Far longer than the longest micro-batch, or running work would be repeated.
    "visibility_timeout": 240,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "unacked_restore_limit": 500,
    "unacked_mutex_expire": 30,
    # `sep` stays kombu's own: with another one a worker fails on each question of a program that
    # does not know it, such as Flower and celery-exporter.
    # Without these a broker that vanished silently is waited for without end. Longer than the
    # worker's BRPOP. `retry_on_timeout` stays unset: it would send a message twice.
    "socket_timeout": 10,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
}


def make_celery(settings: Settings) -> Celery:
    app = Celery("classifier", broker=_broker(settings.redis_url))
    app.conf.update(
        broker_transport_options=_TRANSPORT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_queues=[Queue(lane) for lane in Lane],
        task_create_missing_queues=False,
        # JSON only: with pickle, who can write to Redis can run code in a worker.
        task_serializer="json",
        accept_content=["json"],
        # Our records hold the results; a result backend would add a subscription per message.
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
    )
    return app


def _broker(url: str) -> str:
    """The same address for kombu, which has names of its own for a socket and its database."""
    if not url.startswith("unix://"):
        return url
    return re.sub(r"(?<=[?&])db=", "virtual_host=", url.replace("unix", "redis+socket", 1))

"""Celery, configured to deliver parts from the lanes' queues in Redis to workers."""

from __future__ import annotations

import warnings

from celery import Celery
from celery.platforms import SecurityWarning
from kombu import Queue

from shared.jobs import Lane
from shared.settings import Settings
from workers.broker import transport
from workers.broker.address import broker

# Celery warns of root: with pickle, everybody who can write to Redis could run code as root. This
# project accepts JSON only.
warnings.filterwarnings("ignore", category=SecurityWarning)

_TRANSPORT = {
    # After this time, a message of a dead worker returns to the queue. The job records notice it
    # sooner. It is much longer than a micro-batch may take, or running work would be repeated.
    "visibility_timeout": 240,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "unacked_restore_limit": 500,
    "unacked_mutex_expire": 30,
    # `sep` keeps its default: Flower and celery-exporter use the default, and with another value a
    # worker fails on each of their requests.
    # Without these timeouts a worker waits for ever for a broker that vanished silently. They are
    # longer than the worker's BRPOP, which waits for a second. A worker leaves a frozen server in
    # three steps at most: two of the first timeout, and one of a BRPOP and twice the last. All
    # together are shorter than the 30 s after which a worker that consumes nothing ends itself.
    # `retry_on_timeout` stays unset: it would send messages twice.
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 5,
}


def make_celery(settings: Settings) -> Celery:
    transport.use()
    url, tls, options = broker(settings.redis_url)
    app = Celery("classifier", broker=url)
    app.conf.update(
        broker_use_ssl=tls,
        broker_transport_options=_TRANSPORT | options,
        worker_consumer="workers.broker.consumer:Consumer",
        # A Redis that refuses writes for a while does not end a worker, like one that is away.
        broker_channel_error_retry=True,
        task_queues=[Queue(lane) for lane in Lane],
        task_create_missing_queues=False,
        # With pickle, everybody who can write to Redis could run code in a worker.
        task_serializer="json",
        accept_content=["json"],
        # The job records hold the results. A result backend would add a subscription per message.
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
    )
    return app

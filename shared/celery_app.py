"""Celery, set up to deliver parts: what web publishes and workers consume."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery
from kombu import Queue

from shared.jobs import Lane, PartRef
from shared.settings import Settings

#: The task by name: web never imports the workers' code.
CLASSIFY = "workers.classify"

#: Message header with the number of images it carries, so that a batch is sized without decoding.
IMAGES = "images"

_TRANSPORT = {
    # A net below ours: a message that a dead worker took comes back after this. Our own records
    # notice sooner. Far longer than the longest micro-batch, or running work would be repeated.
    "visibility_timeout": 240,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "unacked_restore_limit": 500,
    "unacked_mutex_expire": 30,
    # The default separator has control characters; queue names must not contain this one.
    "sep": ":",
    # Without these a broker that vanished silently is waited for without end. Longer than the
    # worker's BRPOP. `retry_on_timeout` stays unset: it would send a message twice.
    "socket_timeout": 10,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
}


def make_celery(settings: Settings) -> Celery:
    app = Celery("classifier", broker=settings.redis_url)
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
        # `task-sent` would be a second round trip for each publish, 0.3 of 0.7 ms; Flower shows
        # a message from `task-received` on.
        task_send_sent_event=False,
    )
    return app


def publish(app: Celery, lane: Lane, refs: Sequence[PartRef]) -> None:
    """Send parts to a lane as one message. Raises kombu's OperationalError."""
    app.send_task(
        CLASSIFY,
        args=[[list(ref) for ref in refs]],
        queue=lane,
        headers={IMAGES: sum(ref.images for ref in refs)},
        ignore_result=True,
        # One quick repeat, then the client hears of it: the parts are stored and not lost.
        retry_policy={"max_retries": 1, "interval_start": 0.1},
    )

"""Entry of the worker that delivers webhooks: `celery -A workers.webhooks.app worker`.

It is a process of its own, with threads and without a model. A slow receiver delays other webhooks
but no picture. The main process leases the webhooks that are due and queues them. A thread delivers
each.
"""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import Any

from celery import Celery, signals
from kombu import Queue

from shared.observe import log
from shared.observe.start import read_settings
from shared.errors import WebhooksDisabled
from shared.records.job_records import JobRecords
from shared.redis_client import connect
from shared.settings import Settings
from shared.records.webhooks.outbox import Lease, WebhookOutbox
from workers.upkeep import health, redis_check
from workers.celery_app import make_celery
from workers.webhooks import QUEUE
from workers.webhooks.delivery import WebhookDelivery
from workers.webhooks.dispatcher import Dispatcher
from workers.webhooks.signature import Signer

logger = logging.getLogger(__name__)

#: Deliveries at the same time.
_THREADS = 16

#: Seconds between two polls of the outbox: the longest time until a new webhook is delivered.
_POLL_SECONDS = 0.5

settings = read_settings("webhooks")


def make_webhook_worker(settings: Settings) -> Celery:
    app = make_celery(settings)
    app.conf.update(
        task_default_queue=QUEUE,
        task_queues=[Queue(QUEUE)],
        worker_pool="threads",
        worker_concurrency=_THREADS,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


app = make_webhook_worker(settings)
_redis = connect(settings.redis_url, max_connections=_THREADS + 1)


@app.task(name="workers.webhook")
def deliver(job_id: str, until: float) -> None:
    _delivery().deliver(Lease(job_id, until))


@cache
def _delivery() -> WebhookDelivery:
    if not settings.webhook_secret:
        raise WebhooksDisabled("WEBHOOK_SECRET must be set: it signs the webhooks.")
    try:
        signer = Signer(settings.webhook_secret.get_secret_value())
    except ValueError as error:
        raise WebhooksDisabled(f"WEBHOOK_SECRET {error}") from error
    return WebhookDelivery(
        WebhookOutbox(_redis),
        JobRecords.from_settings(_redis, settings).reader,
        signer,
        allow_private=settings.webhook_allow_private,
        seconds=settings.webhook_timeout_seconds,
    )


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    log.configure(settings, service="webhooks")
    for chatty in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@signals.worker_init.connect
def _check(**_: Any) -> None:
    """Stop the worker at its start if the secret is unusable: every delivery would fail."""
    log.configure(settings, service="webhooks")  # Celery sets up logging only later.
    try:
        _delivery()
    except WebhooksDisabled as error:
        logger.critical("%s", error)
        raise SystemExit(2) from error


redis_check.at_start(settings)


@signals.worker_ready.connect
def _start_timers(sender: Any, **_: Any) -> None:
    dispatcher = Dispatcher(
        _delivery().lease,
        lambda: int(_redis.llen(QUEUE)),
        lambda lease: deliver.apply_async(lease, queue=QUEUE),
        threads=_THREADS,
    )
    sender.timer.call_repeatedly(_POLL_SECONDS, dispatcher.tick)
    heartbeat = settings.heartbeat_file(QUEUE)
    sender.timer.call_repeatedly(settings.reconcile_seconds, health.beat, (heartbeat,))
    sender.while_waiting = partial(health.beat, heartbeat)
    health.beat(heartbeat)

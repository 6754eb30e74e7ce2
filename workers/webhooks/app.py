"""Entry of the worker that delivers webhooks: `celery -A workers.webhooks.app worker`.

A process of its own, with threads and no model: a receiver that takes its time holds up other
webhooks at most, and never a picture. The main process takes what is due and queues it; a thread
delivers.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from celery import Celery, signals
from kombu import Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.observe import log
from shared import webhooks
from shared.errors import WebhooksDisabled
from shared.records.job_store import JobStore
from shared.redis_client import connect
from shared.settings import Settings
from shared.records.webhook_outbox import Lease, WebhookOutbox
from workers.upkeep import health
from workers.celery_app import make_celery
from workers.webhooks.delivery import WebhookDelivery

logger = logging.getLogger(__name__)

#: Receivers that are waited for at the same time.
_THREADS = 16

#: How often it is looked for webhooks that are due, and so how long a receiver waits for the news.
_LOOK_SECONDS = 0.5

settings = Settings()


def make_webhook_worker(settings: Settings) -> Celery:
    app = make_celery(settings)
    app.conf.update(
        task_default_queue=webhooks.QUEUE,
        task_queues=[Queue(webhooks.QUEUE)],
        worker_pool="threads",
        worker_concurrency=_THREADS,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


app = make_webhook_worker(settings)
_redis = connect(settings.redis_url, max_connections=_THREADS + 1)


@app.task(name=webhooks.DELIVER)
def deliver(job_id: str, until: float) -> None:
    _delivery().deliver(Lease(job_id, until))


@cache
def _delivery() -> WebhookDelivery:
    secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
    try:
        webhooks.key(secret)
    except ValueError as error:
        raise WebhooksDisabled(f"WEBHOOK_SECRET {error}") from error
    jobs = JobStore(
        _redis,
        result_ttl_seconds=settings.result_ttl_seconds,
        part_deadline_seconds=settings.part_deadline_seconds,
    )
    return WebhookDelivery(
        WebhookOutbox(_redis),
        jobs,
        secret=secret,
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
    """Without a secret it would fail at each webhook: better no worker."""
    log.configure(settings, service="webhooks")  # this comes before Celery sets logging up
    try:
        _delivery()
    except WebhooksDisabled as error:
        logger.critical("%s", error)
        raise SystemExit(2) from error


@signals.worker_ready.connect
def _watch(sender: Any, **_: Any) -> None:
    sender.timer.call_repeatedly(_LOOK_SECONDS, _queue_what_is_due)
    heartbeat = settings.heartbeat_file(webhooks.QUEUE)
    sender.timer.call_repeatedly(settings.reconcile_seconds, health.beat, (heartbeat,))
    health.beat(heartbeat)


def _queue_what_is_due() -> None:
    """As many as there are threads, and no more while those wait: a lease does not last."""
    try:
        room = _THREADS - int(_redis.llen(webhooks.QUEUE))
        for lease in _delivery().lease(room) if room > 0 else ():
            deliver.apply_async(lease, queue=webhooks.QUEUE)
    except (RedisError, OperationalError) as error:
        logger.warning("cannot look for webhooks that are due: %s", error)

"""Entry of a worker: `LANE=bulk celery -A workers.app worker`.

Only this module creates the worker's objects. The main process consumes messages and forms batches.
Each pool process loads the engine once and classifies.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from billiard.process import current_process
from celery import Celery, signals
from redis import Redis

from shared import keys
from shared.errors import ModelError
from shared.jobs import Lane, PartRef
from shared.message import CLASSIFY
from shared.observe import log, metrics, tracing
from shared.observe.exposition import start_over
from shared.observe.start import read_settings
from shared.records.job_records import JobRecords
from shared.redis_client import connect
from shared.result_cache import ResultCache
from shared.serving import model_info
from shared.serving.model_info import version_of
from shared.serving.presence import SECONDS, Presence
from shared.settings import Settings
from shared.thumbnails import Thumbnails
from workers.batching.micro_batch import MicroBatch
from workers.broker import transport
from workers.celery_app import make_celery
from workers.classify.budget import DecodeBudget
from workers.classify.tasks import BatchClassifier
from workers.decode.decoder import Decoder
from workers.decode.limits import DecodeLimits, return_large_blocks
from workers.engine import Engine
from workers.upkeep import (
    health,
    lane_watch,
    metrics as worker_metrics,
    model_check,
    one_model,
    priority,
    queue_watch,
    redis_check,
)
from workers.upkeep.reconciler import Reconciler
from workers.upkeep.self_report import SelfReport
from workers.upkeep.shared_text import SharedText
from workers.upkeep.stall_detector import StallDetector

logger = logging.getLogger(__name__)

#: The worker's name in logs and traces.
SERVICE = "classifier-worker"

settings = read_settings(SERVICE)

_classifier: BatchClassifier | None = None

#: The announcement of the model. A pool process loads it, and the main process repeats it.
_model = SharedText()
#: Its labels as JSON. There are models with 21,000 labels.
_labels = SharedText(2**22)


def _pool_processes(settings: Settings) -> int:
    """One more than the worker is to use, if that is a single one.

    Else slow pictures would leave no process for the others.
    """
    return max(2, settings.worker_processes)


def _prefetched(settings: Settings) -> int:
    """Messages that must fill the next batches."""
    of_process = settings.max_batch_size if settings.lane is Lane.INTERACTIVE else 2
    return max(_pool_processes(settings), of_process * settings.worker_processes)


def make_worker(settings: Settings) -> Celery:
    app = make_celery(settings)
    app.conf.update(
        task_default_queue=settings.lane,
        task_queues=[queue for queue in app.conf.task_queues if queue.name == settings.lane],
        worker_concurrency=_pool_processes(settings),
        # Prefetched messages must fill the next batch. An interactive message is often a single
        # image. A bulk message is a whole part.
        worker_prefetch_multiplier=_prefetched(settings) // _pool_processes(settings),
        worker_send_task_events=settings.task_events,
        task_time_limit=settings.batch_time_limit_seconds,
        # Celery kills a pool process that has not loaded the engine by then. On a machine with much
        # other work, that may take a bulk worker more than a minute.
        worker_proc_alive_timeout=300,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


app = make_worker(settings)


@app.task(
    base=MicroBatch,
    name=CLASSIFY,
    max_batch_size=settings.max_batch_size,
    batches_at_once=settings.worker_processes,
    keeps_one_free=settings.lane is Lane.INTERACTIVE,
    prefetches_less_if_long=settings.lane is Lane.BULK,
)
def classify(
    parts: list[list[Any]], *, alone: bool, slow: bool, others: bool, recalled: Callable[[], bool]
) -> int:
    if _classifier is None:
        raise RuntimeError("this pool process has no engine, so the worker ends")
    refs = [PartRef.from_message(part) for part in parts]
    return _classifier.classify(refs, alone=alone, slow=slow, others=others, recalled=recalled)


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    log.configure(settings, SERVICE)
    # The log line of a micro-batch already covers its messages.
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)


@signals.worker_init.connect
def _check_model(**_: Any) -> None:
    log.configure(settings, SERVICE)  # Celery sets up logging only later.
    model_check.at_start(settings)


redis_check.at_start(settings)


@signals.worker_init.connect
def _lower_priority(**_: Any) -> None:
    priority.lower_for(settings.lane)


@signals.worker_init.connect
def _clear_metrics(**_: Any) -> None:
    if metrics.FOLDER:
        start_over(metrics.FOLDER)


@signals.worker_ready.connect
def _start_timers(sender: Any, **_: Any) -> None:
    """Start the timers in the main process's event loop. They continue over reconnects."""
    redis = connect(settings.redis_url, max_connections=1)
    batcher, lane = classify.batcher, settings.lane
    recovery = JobRecords.from_settings(redis, settings).recovery
    seconds = settings.reconcile_seconds
    reconciler = Reconciler(redis, recovery, lane, seconds=seconds)
    detector = StallDetector(
        redis, batcher, lane, _queues, seconds=settings.stall_seconds, interval=seconds
    )
    watch = lane_watch.LaneWatch(redis, batcher, lane)
    watch.tick()  # before the first message is taken
    sender.timer.call_repeatedly(lane_watch.SECONDS, watch.tick)
    waiting = queue_watch.QueueWatch(redis, batcher, lane, _versions)
    sender.timer.call_repeatedly(queue_watch.SECONDS, waiting.tick)
    sender.timer.call_repeatedly(seconds, reconciler.tick)
    sender.timer.call_repeatedly(seconds, detector.tick)
    heartbeat = settings.heartbeat_file(lane)
    sender.timer.call_repeatedly(seconds, health.beat, (heartbeat,))
    sender.while_waiting = partial(health.beat, heartbeat)
    health.beat(heartbeat)
    presence = Presence(redis, lane, sender.hostname, _model.read, _labels.read)
    sender.timer.call_repeatedly(SECONDS, presence.tick)
    report = SelfReport(redis, batcher, lane, sender.hostname, _model.read)
    sender.timer.call_repeatedly(SECONDS, report.tick)
    signals.worker_shutdown.connect(lambda **_: presence.leave(), weak=False)
    signals.worker_shutdown.connect(lambda **_: report.leave(), weak=False)

    def announce() -> None:
        presence.tick()
        report.tick()

    announce()
    _when_loaded(sender, announce)
    _serve_metrics()


def _queues() -> list[str]:
    """The queues that this worker should consume, whatever Celery thinks."""
    return [keys.queue(settings.lane, version) for version in _versions()]


def _versions() -> list[str]:
    """Its model version, if that is loaded, and none for jobs that need no certain one."""
    announcement = _model.read()
    return ["", version_of(announcement)] if announcement else [""]


def _when_loaded(consumer: Any, tick: Callable[[], None]) -> None:
    """Consume the queue of the model version, once a pool process has loaded the model."""

    def check() -> None:
        if announcement := _model.read():
            timer.cancel()
            consumer.consume_also(keys.queue(settings.lane, version_of(announcement)))
            transport.wait_briefly(False)
            tick()  # web then uses the new queue

    transport.wait_briefly(True)
    timer = consumer.timer.call_repeatedly(0.1, check)


def _serve_metrics() -> None:
    if not (settings.metrics_port and metrics.FOLDER):
        return
    worker_metrics.serve(
        settings.host, settings.metrics_port, metrics.FOLDER, classify.batcher, settings.lane
    )


@signals.worker_process_init.connect
def _load(**_: Any) -> None:
    """Set up a pool process after the fork, because sessions and connections cannot be shared."""
    global _classifier
    # A process that replaces another has its index, and goes on counting where that one stopped.
    metrics.count_as(f"{settings.lane}{current_process().index}")
    return_large_blocks()
    engine = _engine()
    redis = connect(settings.redis_url, max_connections=1)
    cache = ResultCache(redis, ttl_seconds=settings.cache_ttl_seconds)
    _classifier = BatchClassifier(
        Decoder(engine.model.preset, DecodeLimits.of(settings)),
        engine,
        redis,
        JobRecords.from_settings(redis, settings).parts,
        cache,
        Thumbnails(redis, ttl_seconds=settings.result_ttl_seconds),
        lane=settings.lane,
        budget=DecodeBudget.of(settings),
        # The decoding of a batch takes a third of its time limit at most.
        patience=settings.batch_time_limit_seconds / 2,
    )
    metrics.POOL_PROCESSES_STARTED.labels(settings.lane).inc()
    _announce(engine, redis)


def _engine() -> Engine:
    """The engine of this pool process. Without one the worker ends: each batch would fail."""
    try:
        return one_model.load(settings, _model.read)
    except Exception as error:
        is_known = isinstance(error, ModelError)
        logger.critical("no engine, so the worker ends: %s", error, exc_info=not is_known)
        os.kill(os.getppid(), signal.SIGTERM)
        raise


def _announce(engine: Engine, redis: Redis) -> None:
    """Say what this process serves: to web, to the main process and in the log."""
    model = engine.model
    info = model_info.ModelInfo(
        name=model.name,
        version=model.version,
        weights=model.weights,
        weights_digest=model.weights_digest,
        engine=engine.name,
        precision=engine.precision,
        classes=len(model.labels),
        input_size=model.preset.crop_size,
        activation=model.activation,
        threshold=model.usual_threshold,
        thresholds=model.other_thresholds,
        embedding=model.embedding,
        notice=model.notice,
    )
    with suppress(IndexError):  # megabytes of labels are announced once and not repeated
        _labels.write(model_info.labels_to_json(model.labels))
    _model.write(model_info.to_json(info))
    model_info.announce_labels(redis, info.version, model.labels)
    model_info.announce(redis, info)
    if current_process().index == 0:  # Only the first pool process logs it.
        logger.info("%s on %s in %s", model.version, engine.name, engine.precision)
        if model.notice:
            logger.info("%s", model.notice)


@signals.worker_process_init.connect
def _trace(**_: Any) -> None:
    tracing.configure(settings, SERVICE)


@signals.worker_process_shutdown.connect
def _stop(**_: Any) -> None:
    tracing.stop()

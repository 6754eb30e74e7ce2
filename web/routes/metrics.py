"""`/metrics`: Prometheus's text format."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from shared import keys, model_info
from shared.records import backlog
from shared.observe import metrics
from shared.errors import ModelNotReady
from shared.observe.exposition import SharedSeries
from shared.jobs import Lane
from shared.records.backlog import Backlog, Load
from web.submit.service import Service, service

blueprint = Blueprint("metrics", __name__)

_MODEL_LABELS = ("name", "version", "weights", "engine")


@blueprint.get("/metrics", endpoint="metrics")
def read() -> Response:
    registry = CollectorRegistry()
    registry.register(SharedSeries(metrics.FOLDER) if metrics.FOLDER else REGISTRY)
    registry.register(Records(service()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class Records(Collector):
    """What the records in Redis say when Prometheus asks: the same from whatever process.

    While Redis is away only that is told: how requests fare meanwhile must still be seen.
    """

    def __init__(self, found: Service) -> None:
        self._service = found

    def collect(self) -> Iterator[Metric]:
        try:
            series = [*self._lanes(), *self._totals(), self._model()]
        except RedisError:
            series = []
        yield _gauge("redis_up", "1 where Redis answers.", 1 if series else 0)
        yield from series

    def _lanes(self) -> Iterator[Metric]:
        now, found = time.time(), self._service
        backlogs = {lane: backlog.of_lane(found.redis, lane) for lane in Lane}
        settings, present = found.settings, backlog.read(found.redis)
        ages = {
            lane: _age(each, now, settings.part_deadline_seconds) for lane, each in backlogs.items()
        }
        parts = {lane: each.parts for lane, each in backlogs.items()}
        images = {lane: each.images for lane, each in backlogs.items()}
        limits = {
            Lane.INTERACTIVE: settings.max_outstanding_interactive,
            Lane.BULK: settings.max_outstanding_bulk,
        }
        waits = {lane: _wait(present, lane) for lane in Lane}
        yield _by_lane("workers", "Workers that take parts.", present.workers)
        yield _by_lane("outstanding_parts", "Accepted, not yet committed.", parts)
        yield _by_lane("outstanding_images", "Accepted, not yet committed.", images)
        yield _by_lane("outstanding_images_limit", "Past this a submit is refused.", limits)
        yield _by_lane("oldest_waiting_seconds", "Since the next part last showed life.", ages)
        yield _by_lane("drain_images_per_second", "Committed, lately.", present.drained)
        yield _by_lane("estimated_wait_seconds", "Until what is outstanding is done.", waits)

    def _totals(self) -> Iterator[Metric]:
        redis, limit = self._service.redis, self._service.settings.max_bytes_held
        held, letters = redis.hget(keys.HELD, "total"), redis.hlen(keys.DEAD_LETTERS)
        yield _gauge("held_bytes", "Pictures that wait in Redis.", float(held or 0))
        yield _gauge("held_bytes_limit", "Past this a submit is refused.", limit)
        yield _gauge("dead_letters", "Pictures that no worker survived.", float(letters))

    def _model(self) -> Metric:
        family = GaugeMetricFamily(
            "classifier_model_info", "What the workers run.", labels=_MODEL_LABELS
        )
        try:
            info = model_info.read(self._service.redis)
        except ModelNotReady:
            return family
        family.add_metric([getattr(info, label) for label in _MODEL_LABELS], 1)
        return family


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(f"classifier_{name}", told, value=value)


def _by_lane(name: str, told: str, values: Mapping[Lane, float]) -> Metric:
    family = GaugeMetricFamily(f"classifier_{name}", told, labels=["lane"])
    for lane, value in values.items():
        family.add_metric([lane], value)
    return family


def _age(backlog: Backlog, now: float, deadline_seconds: float) -> float:
    """Seconds since the part that is due first was accepted or started; 0 where there is none."""
    if backlog.oldest_deadline is None:
        return 0.0
    return max(0.0, now - backlog.oldest_deadline + deadline_seconds)


def _wait(present: Load, lane: Lane) -> float:
    """Seconds until a lane is empty, as fast as it drains lately; infinite where nothing does."""
    if not present.images[lane]:
        return 0.0
    drained = present.drained[lane]
    return present.images[lane] / drained if drained else math.inf

"""`/metrics`: Prometheus's text format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from shared import clock, keys
from shared.errors import ModelNotReady
from shared.jobs import Lane
from shared.observe import metrics
from shared.observe.exposition import SharedSeries
from shared.records.load import backlog
from shared.records.load.backlog import Backlog
from shared.serving import model_info
from web.routes.backend import Backend, backend

blueprint = Blueprint("metrics", __name__)

_MODEL_LABELS = ("name", "version", "weights", "engine", "precision")


@blueprint.get("/metrics", endpoint="metrics")
def read() -> Response:
    registry = CollectorRegistry()
    registry.register(SharedSeries(metrics.FOLDER) if metrics.FOLDER else REGISTRY)
    registry.register(Records(backend()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class Records(Collector):
    """What the records in Redis say at this moment, so each web process answers the same.

    In an outage it only says that Redis is away: the counters of requests must still be seen.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterator[Metric]:
        try:
            series = [*self._lanes(), *self._totals(), self._model()]
        except RedisError:
            series = []
        yield _gauge("redis_up", "1 if Redis answers.", 1 if series else 0)
        yield from series

    def _lanes(self) -> Iterator[Metric]:
        redis = self._backend.redis
        now = clock.now(redis)
        backlogs = {lane: backlog.of_lane(redis, lane) for lane in Lane}
        load, deadline = backlog.read(redis), self._backend.settings.part_deadline_seconds
        parts = {lane: each.parts for lane, each in backlogs.items()}
        images = {lane: each.images for lane, each in backlogs.items()}
        limits = {lane: self._backend.admission.limits.images_of(lane, load) for lane in Lane}
        ages = {lane: _age(each, now, deadline) for lane, each in backlogs.items()}
        waits = {lane: _infinite_if_unknown(load.seconds_left(lane)) for lane in Lane}
        accepts = {lane: load.order(lane).accepts for lane in Lane}
        works = {lane: load.order(lane).works for lane in Lane}
        yield _by_lane("lane_accepts", "0 while the operator lets it refuse submissions.", accepts)
        yield _by_lane("lane_works", "0 while the operator lets its workers take nothing.", works)
        yield _by_lane("workers", "Workers that accept parts.", load.workers)
        yield _by_lane("outstanding_parts", "Parts accepted and not yet committed.", parts)
        yield _by_lane("outstanding_images", "Images accepted and not yet committed.", images)
        yield _by_lane("outstanding_images_limit", "Beyond this a submit is refused.", limits)
        yield _by_lane("oldest_waiting_seconds", "Since the next part last showed life.", ages)
        yield _by_lane("drain_images_per_second", "Images committed lately.", load.drained)
        yield _by_lane("estimated_wait_seconds", "Until what is outstanding is done.", waits)

    def _totals(self) -> Iterator[Metric]:
        redis, limit = self._backend.redis, self._backend.settings.max_bytes_held
        held, letters = redis.hget(keys.HELD, "total"), redis.hlen(keys.DEAD_LETTERS)
        yield _gauge("held_bytes", "Bytes of the images that wait in Redis.", float(held or 0))
        yield _gauge("held_bytes_limit", "Beyond this a submit is refused.", limit)
        yield _gauge("dead_letters", "Pictures on which every worker died.", float(letters))
        yield _gauge(
            "clock_difference_seconds", "The clock of Redis minus ours.", clock.difference()
        )

    def _model(self) -> Metric:
        family = GaugeMetricFamily(
            "classifier_model_info", "The model that the workers run.", labels=_MODEL_LABELS
        )
        try:
            info = model_info.read(self._backend.redis)
        except ModelNotReady:
            return family
        family.add_metric([getattr(info, label) for label in _MODEL_LABELS], 1)
        return family


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"classifier_{name}", help_text, value=value)


def _by_lane(name: str, help_text: str, values: Mapping[Lane, float]) -> Metric:
    family = GaugeMetricFamily(f"classifier_{name}", help_text, labels=["lane"])
    for lane, value in values.items():
        family.add_metric([lane], value)
    return family


def _age(backlog: Backlog, now: float, deadline_seconds: float) -> float:
    """Seconds since the part that is due first was accepted or started; 0 if there is none."""
    if backlog.oldest_deadline is None:
        return 0.0
    return max(0.0, now - backlog.oldest_deadline + deadline_seconds)


def _infinite_if_unknown(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds

"""`/metrics`: Prometheus's text format."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared.job_store import JobStore
from shared.jobs import Lane
from web.service import service

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    found = service()
    registry = CollectorRegistry()
    if found.settings.prometheus_multiproc_dir:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(BacklogCollector(found.jobs))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class BacklogCollector(Collector):
    """Reads each lane's backlog when Prometheus asks: one truth, whatever process is scraped."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        parts = GaugeMetricFamily(
            "classifier_outstanding_parts", "Accepted, not yet committed.", labels=["lane"]
        )
        images = GaugeMetricFamily(
            "classifier_outstanding_images", "Accepted, not yet committed.", labels=["lane"]
        )
        for lane in Lane:
            backlog = self._jobs.backlog(lane)
            parts.add_metric([lane], backlog.parts)
            images.add_metric([lane], backlog.images)
        yield parts
        yield images

"""A worker's metrics, served by its main process: what its processes count, and its pool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.observe.exposition import SharedSeries
from shared.jobs import Lane
from workers.batching.micro_batch import Batcher


def serve(host: str, port: int, folder: Path, batcher: Batcher, lane: Lane) -> None:
    """Answer scrapes from a thread; the event loop goes on meanwhile."""
    registry = CollectorRegistry()
    registry.register(SharedSeries(folder))
    registry.register(Pool(batcher, lane))
    start_http_server(port, addr=host, registry=registry)


class Pool(Collector):
    """What the main process knows of its pool when Prometheus asks."""

    def __init__(self, batcher: Batcher, lane: Lane) -> None:
        self._batcher = batcher
        self._lane = lane
        self._started_at = time.time()

    def collect(self) -> Iterator[Metric]:
        processes = self._batcher.processes
        yield self._gauge("processes", "Pool processes that there should be.", processes)
        yield self._gauge("busy_processes", "With a micro-batch.", self._batcher.running)
        yield self._gauge("waiting_messages", "Taken, for the next batch.", self._batcher.waiting)
        yield self._gauge("start_time_seconds", "Start of the worker, Unix.", self._started_at)

    def _gauge(self, name: str, told: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"classifier_worker_{name}", told, labels=["lane"])
        family.add_metric([self._lane], value)
        return family

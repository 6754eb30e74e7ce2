"""A worker's metrics: the counters of its processes, and the state of its pool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared import clock
from shared.observe.exposition import SharedSeries
from shared.jobs import Lane
from workers.batching.micro_batch import Batcher


def serve(host: str, port: int, folder: Path, batcher: Batcher, lane: Lane) -> None:
    """Answer scrapes in a thread, so that the event loop is not blocked."""
    registry = CollectorRegistry()
    registry.register(SharedSeries(folder))
    registry.register(Pool(batcher, lane))
    start_http_server(port, addr=host, registry=registry)


class Pool(Collector):
    """The state of the pool at the time of a scrape."""

    def __init__(self, batcher: Batcher, lane: Lane) -> None:
        self._batcher = batcher
        self._lane = lane
        self._started_at = time.time()

    def collect(self) -> Iterator[Metric]:
        processes = self._batcher.processes
        yield self._gauge(
            "processes", "Pool processes that the worker is configured to have.", processes
        )
        yield self._gauge(
            "busy_processes",
            "Pool processes that are busy with a micro-batch.",
            self._batcher.running,
        )
        yield self._gauge(
            "waiting_messages",
            "Messages in the worker that wait for the next batch.",
            self._batcher.waiting,
        )
        yield self._gauge(
            "start_time_seconds", "Start of the worker, in Unix seconds.", self._started_at
        )
        yield self._gauge(
            "clock_difference_seconds", "The clock of Redis minus ours.", clock.difference()
        )

    def _gauge(self, name: str, description: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"classifier_worker_{name}", description, labels=["lane"])
        family.add_metric([self._lane], value)
        return family

"""Measure what metrics, task events and logs cost, as a share of the bulk throughput.

    python -m loadtest.observability PICTURES --rounds 5

On: metrics are counted and scraped every second, task events are sent and received, and each
micro-batch logs a JSON line. Off: none of this. Each round drains the same pictures off, on, on,
off. So a machine that gets slower during the round slows both. It prints the share of throughput.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx

from loadtest.measure.pictures import read_pictures
from tests.support.local_service import LocalService, export_model, free_port, local_service
from loadtest.measure.measures import drain
from shared.jobs import Lane
from shared.settings import Settings

_OFF = {"LOG_LEVEL": "ERROR", "TASK_EVENTS": "false"}
_ON = {"LOG_LEVEL": "INFO", "LOG_FORMAT": "json", "TASK_EVENTS": "true"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--images", type=int, default=1024)
    options = arguments.parse_args()
    pictures = read_pictures(options.pictures)
    export_model()
    costs = [round_cost(pictures, options.images) for _ in range(options.rounds)]
    print(f"Observing costs {statistics.median(costs):.1%} of the bulk throughput (median).")
    print("Rounds: " + ", ".join(f"{cost:.1%}" for cost in costs))


def round_cost(pictures: Sequence[bytes], images: int) -> float:
    """The share of the throughput that observing costs. Noise can make it negative."""
    rates = [_rate(pictures, images, observed=on) for on in (False, True, True, False)]
    off, on = 1 / rates[0] + 1 / rates[3], 1 / rates[1] + 1 / rates[2]
    print("off, on, on, off:", *(f"{rate:.1f}" for rate in rates), "images/s", file=sys.stderr)
    return 1 - off / on


def _rate(pictures: Sequence[bytes], images: int, *, observed: bool) -> float:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        service = stack.enter_context(local_service(Path(folder), _environment()))
        if not observed:
            app = "loadtest.unobserved_app"
            return drain(service, pictures, Settings(), images=images, app=app, **_OFF)
        port = free_port()
        stack.enter_context(_watching(service, port))
        environment = _ON | {"METRICS_PORT": str(port)}
        rate = drain(service, pictures, Settings(), images=images, **environment)
        _check(service, port, images)
        return rate


def _environment() -> dict[str, str]:
    """The environment of both sides, without the metrics settings of this shell."""
    # They are left out, because an empty folder means the current one to prometheus-client.
    left_out = {"METRICS_PORT", "PROMETHEUS_MULTIPROC_DIR"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {"WORKER_PROCESSES": "2"}


@contextmanager
def _watching(service: LocalService, port: int) -> Iterator[None]:
    """Scrape every second and receive every task event."""
    over = threading.Event()
    pubsub = service.redis().pubsub()  # type: ignore[no-untyped-call]
    pubsub.psubscribe("/0.celeryev/*")

    def watch() -> None:
        while not over.wait(1):
            with suppress(httpx.TransportError):  # The worker has not started yet, or has ended.
                httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
            while pubsub.get_message():
                pass

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        pubsub.close()


def _check(service: LocalService, port: int, images: int) -> None:
    """Check that everything was really counted and logged."""
    url, counted = f"http://127.0.0.1:{port}/metrics", f'outcome="succeeded"}} {images}.0'
    give_up = time.monotonic() + 5  # The last batch is counted after its commit.
    while counted not in httpx.get(url, trust_env=False).text:
        assert time.monotonic() < give_up, "not everything was counted"
    assert '"event":{"dataset":"classifier.batch"' in service.log(Lane.BULK), "nothing was logged"


if __name__ == "__main__":
    main()

"""One watched service for all tests here, and the programs that watch it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from tests.monitoring.watched import Collector, Watched
from tests.monitoring.watchers import Prometheus, Watchers, grant_few_rights, shipped_config
from tests.support.local_service import local_service
from tests.support.ports import free_port
from tests.support.programs import installed
from tests.support.waiting import wait_until


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    receiver = Collector()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture(scope="session")
def watched(
    model_environment: dict[str, str],
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    """A service with metrics, JSON logs and spans."""
    environment = model_environment | {
        "LOG_FORMAT": "json",
        "RECONCILE_SECONDS": "1",
        "WORKER_PROCESSES": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with local_service(tmp_path_factory.mktemp("watched"), environment) as service:
        running = Watched(service)
        running.start()
        yield running


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Gives the path of a program; skips the test where it is not installed."""
    return installed


@pytest.fixture(scope="session")
def watchers(
    watched: Watched,
    program: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watchers]:
    grant_few_rights(watched)
    running = Watchers(watched, tmp_path_factory.mktemp("watchers"))
    try:
        running.start(program)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def prometheus(
    watched: Watched,
    watchers: Watchers,
    program: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Prometheus:
    folder = tmp_path_factory.mktemp("prometheus")
    alertmanager = f"127.0.0.1:{free_port()}"
    watchers.run(
        program("prometheus-alertmanager"),
        "--config.file=monitoring/alertmanager/alertmanager.yml",
        f"--storage.path={folder / 'alertmanager'}",
        *(f"--web.listen-address={alertmanager}", "--cluster.listen-address="),
    )
    config = shipped_config(watched, watchers, alertmanager, folder)
    (folder / "prometheus.yml").write_text(config)
    url = f"http://127.0.0.1:{free_port()}"
    watchers.run(
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
    )

    def ready() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{url}/-/ready").is_success
        return False

    wait_until(ready, 30, problem="Prometheus does not answer")
    return Prometheus(url)

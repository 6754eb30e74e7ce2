"""One watched service for every test here: metrics, JSON logs, and the programs that watch it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from client.cli.demo import sample_pictures
from tests.support.local_service import LocalService, free_port, local_service
from shared.jobs import Lane

ROOT = Path(__file__).parents[2]
CELERY_EXPORTER = ROOT / ".venv-exporter/bin/python"


class Watched:
    """The service, and where its metrics are."""

    def __init__(self, service: LocalService) -> None:
        self.service = service
        self.metrics_ports = {lane: free_port() for lane in Lane}
        self._tail = 0

    def start(self) -> None:
        for lane in Lane:
            self.start_worker(lane)
        self.service.start_web()
        self.service.await_ready()

    def start_worker(self, lane: Lane) -> None:
        self.service.start_worker(lane, METRICS_PORT=str(self.metrics_ports[lane]))

    def scrape(self, lane: Lane | None = None) -> str:
        """Metrics of a worker, or of web."""
        base = self.service.base_url
        url = f"http://127.0.0.1:{self.metrics_ports[lane]}" if lane else base
        return httpx.get(f"{url}/metrics").raise_for_status().text

    def fresh_picture(self) -> bytes:
        """Bytes that no cached result answers for."""
        self._tail += 1
        return sample_pictures()[0].read_bytes() + b"%d" % self._tail

    def classify(self, **headers: str) -> httpx.Response:
        url = f"{self.service.base_url}/api/v1/classify"
        answer = httpx.post(url, content=self.fresh_picture(), headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    def run_job(self, images: int) -> str:
        """Submit a bulk job, wait for its end; gives its id."""
        files = [("files", (f"{k}.jpg", self.fresh_picture())) for k in range(images)]
        base = self.service.base_url
        answer = httpx.post(f"{base}/jobs", files=files, data={"lane": "bulk"}, timeout=60)
        job_id = str(answer.raise_for_status().json()["id"])
        job = httpx.get(f"{base}/jobs/{job_id}?wait=50", timeout=60).json()
        assert job["state"] == "completed", job
        return job_id


class Collector:
    """A real OTLP/HTTP receiver: keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []  #: Each with its service's name.
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    names = {a.key: a.value.string_value for a in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        spans.extend((names["service.name"], span) for span in scope.spans)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of_trace(self, trace_id: str) -> dict[str, tuple[str, Span]]:
        """Service and span by name."""
        return {s.name: (name, s) for name, s in list(self.spans) if s.trace_id.hex() == trace_id}


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
    environment = model_environment | {"LOG_FORMAT": "json", "RECONCILE_SECONDS": "1"}
    environment["WORKER_PROCESSES"] = "1"
    environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with local_service(tmp_path_factory.mktemp("watched"), environment) as service:
        running = Watched(service)
        running.start()
        yield running


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Path of a program of the machine; the test is skipped where it isn't there."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if not found:
            assert not os.environ.get("CI"), f"continuous integration installs {name}"
            pytest.skip(f"{name} is not installed")
        return found

    return find


class Watchers:
    """celery-exporter, Flower, the Redis and node exporters, as a user with few rights."""

    def __init__(self, watched: Watched, folder: Path) -> None:
        self.ports = {name: free_port() for name in ("celery", "flower", "redis", "node")}
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._redis = f"127.0.0.1:{watched.service.redis_port}"
        self.redis_url = f"redis://watcher:few-rights@{self._redis}/0"

    def start(self, program: Callable[[str], str]) -> None:
        if not CELERY_EXPORTER.exists():
            assert not os.environ.get("CI"), "continuous integration installs celery-exporter"
            pytest.skip("celery-exporter is not installed: see .ci/run")
        options = documented_options()
        exporter = [str(CELERY_EXPORTER), "-c", "from src.cli import cli; cli()"]
        port = str(self.ports["celery"])
        url = f"--broker-url={self.redis_url}"
        self.run(*exporter, url, "--port", port, *options["celery-exporter"])
        self.flower = self.start_flower()
        self.run(
            program("prometheus-redis-exporter"),
            *(f"--redis.addr={self._redis}", "--redis.user=watcher"),
            *("--redis.password=few-rights", f"--web.listen-address=:{self.ports['redis']}"),
            *options["redis_exporter"],
        )
        address = f"--web.listen-address=127.0.0.1:{self.ports['node']}"
        self.run(program("prometheus-node-exporter"), address)

    def start_flower(self) -> subprocess.Popen[bytes]:
        celery = str(Path(sys.executable).with_name("celery"))
        command = [celery, "--quiet", "-A", "workers.flower", "flower"]
        return self.run(*command, f"--port={self.ports['flower']}", *documented_options()["flower"])

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"REDIS_URL": self.redis_url}
        with (self._folder / f"{len(self._processes)}.log").open("wb") as log:
            started = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)
        self._processes.append(started)
        return started

    def scrape(self, name: str) -> str:
        """The metrics of one of them, once it answers."""
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            with suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=20).text
            time.sleep(0.1)
        logs = "".join(log.read_text() for log in self._folder.glob("*.log"))
        raise AssertionError(f"{name} does not answer: {logs[-3000:]}")

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def documented_options() -> dict[str, list[str]]:
    """What docs/operations.md says to start each watcher with: `program` and its options."""
    text = (ROOT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| `(-[^`]+)` \|", text, re.MULTILINE)
    return {name: options.split() for name, options in rows}


def grant_few_rights(watched: Watched) -> None:
    """As docs/operations.md says it."""
    text = (ROOT / "docs/operations.md").read_text()
    [block] = re.findall(r"^    (ACL SETUSER watcher .*(?:\n      .*)*)", text, re.MULTILINE)
    watched.service.redis().execute_command(*block.replace("PASSWORD", "few-rights").split())


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


def shipped_config(watched: Watched, watchers: Watchers) -> str:
    """The shipped Prometheus configuration, with the addresses of this run and a faster pace."""
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ROOT / "monitoring/prometheus/rules/*.yml")]
    ports = {
        "prometheus": [],  # itself: of no interest here
        "web": [int(watched.service.base_url.rpartition(":")[2])],
        "worker": list(watched.metrics_ports.values()),
        "celery-exporter": [watchers.ports["celery"]],
        **{name: [watchers.ports[name]] for name in ("flower", "redis", "node")},
    }
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        if "scrape_interval" in job:  # slow because each scrape takes its time
            job["scrape_interval"] = job["scrape_timeout"] = "4s"
        targets = [f"127.0.0.1:{port}" for port in ports[job["job_name"]]]
        job["static_configs"] = [{"targets": targets}]
    return str(yaml.safe_dump(config))


class Prometheus:
    """A real server, to ask."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str) -> list[float]:
        """Values that an expression gives now. Raises where Prometheus cannot parse it."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", (expr, answer)
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [float(result[1])]
        return [float(each["value"][1]) for each in result]

    def targets(self) -> dict[str, set[str]]:
        """Health of the targets by job, once each was scraped."""
        found = httpx.get(f"{self.url}/api/v1/targets").json()["data"]["activeTargets"]
        health: dict[str, set[str]] = {}
        for each in found:
            health.setdefault(each["labels"]["job"], set()).add(each["health"])
        return health


@pytest.fixture(scope="session")
def prometheus(
    watched: Watched,
    watchers: Watchers,
    program: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(shipped_config(watched, watchers))
    url = f"http://127.0.0.1:{free_port()}"
    server = watchers.run(
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
    )
    give_up = time.monotonic() + 30
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/-/ready").is_success:
                break
        assert server.poll() is None and time.monotonic() < give_up
        time.sleep(0.1)
    yield Prometheus(url)

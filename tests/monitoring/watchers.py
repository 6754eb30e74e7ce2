"""The programs that watch the service: celery-exporter, Flower, exporters, and Prometheus."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

from tests.monitoring.watched import Watched
from tests.support.ports import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
CELERY_EXPORTER = ROOT / ".venv-exporter/bin/python"


class Watchers:
    """celery-exporter, Flower, and the exporters of Redis, the node and the front door.

    All that read Redis use the Redis user with few rights of docs/operations.md.
    """

    def __init__(self, watched: Watched, folder: Path) -> None:
        self.ports = {
            name: free_port() for name in ("celery", "flower", "redis", "node", "front-door")
        }
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
        self.run(
            program("prometheus-blackbox-exporter"),
            "--config.file=monitoring/blackbox/blackbox.yml",
            f"--web.listen-address=127.0.0.1:{self.ports['front-door']}",
        )

    def start_flower(self) -> subprocess.Popen[bytes]:
        celery = str(Path(sys.executable).with_name("celery"))
        command = [celery, "--quiet", "-A", "workers.flower", "flower"]
        return self.run(*command, f"--port={self.ports['flower']}", *documented_options()["flower"])

    def stop_flower(self) -> None:
        self.flower.terminate()
        self.flower.wait(20)
        self._processes.remove(self.flower)

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"REDIS_URL": self.redis_url}
        with (self._folder / "log").open("ab") as log:
            started = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)
        self._processes.append(started)
        return started

    def scrape(self, name: str) -> str:
        """The metrics of one of them, once it answers. None of them may have ended."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            assert all(each.poll() is None for each in self._processes), self._log()
            with suppress(httpx.TransportError):
                answers.append(httpx.get(self.url(name) + "/metrics", timeout=20))
            return bool(answers)

        wait_until(answered, 30, problem=self._log)
        return answers[0].text

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def _log(self) -> str:
        return (self._folder / "log").read_text()[-3000:]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def documented_options() -> dict[str, list[str]]:
    """The options in the table of watchers in docs/operations.md, by program."""
    text = (ROOT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| `(-[^`]+)` \|", text, re.MULTILINE)
    return {name: options.split() for name, options in rows}


def grant_few_rights(watched: Watched) -> None:
    """Create the Redis user as docs/operations.md does."""
    text = (ROOT / "docs/operations.md").read_text()
    [block] = re.findall(r"^    (ACL SETUSER watcher .*(?:\n      .*)*)", text, re.MULTILINE)
    watched.service.redis().execute_command(*block.replace("PASSWORD", "few-rights").split())


class Prometheus:
    """A real server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str) -> list[float]:
        """The values of an expression now. The test fails where Prometheus cannot parse it."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", (expr, answer)
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [float(result[1])]
        return [float(each["value"][1]) for each in result]

    def alertmanagers(self) -> list[str]:
        """The addresses of the Alertmanagers that it sends alerts to."""
        answer = httpx.get(f"{self.url}/api/v1/alertmanagers").json()
        return [each["url"] for each in answer["data"]["activeAlertmanagers"]]

    def targets(self) -> dict[str, set[str]]:
        """The health of the targets by job, of those that were scraped."""
        targets = httpx.get(f"{self.url}/api/v1/targets").json()["data"]["activeTargets"]
        health: dict[str, set[str]] = {}
        for each in targets:
            health.setdefault(each["labels"]["job"], set()).add(each["health"])
        return health


def shipped_config(watched: Watched, watchers: Watchers, alertmanager: str, folder: Path) -> str:
    """The shipped Prometheus configuration with this run's addresses and shorter intervals."""
    config = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    config["rule_files"] = _rules_without_intervals(folder)
    ports = {
        "prometheus": [],  # no test looks at Prometheus's own metrics
        "web": [watched.service.port],
        "worker": list(watched.metrics_ports.values()),
        "celery-exporter": [watchers.ports["celery"]],
        **{name: [watchers.ports[name]] for name in ("flower", "redis", "node")},
    }
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        if "scrape_interval" in job:  # a scrape of this job takes seconds
            job["scrape_interval"] = job["scrape_timeout"] = "4s"
        targets = [f"127.0.0.1:{port}" for port in ports.get(job["job_name"], ())]
        if job["job_name"] == "front-door":  # There is no nginx before this service.
            targets = [f"{watched.service.base_url}/api/v1/health"]
            job["relabel_configs"][-1]["replacement"] = f"127.0.0.1:{watchers.ports['front-door']}"
        job["static_configs"] = [{"targets": targets}]
    return str(yaml.safe_dump(config))


def _rules_without_intervals(folder: Path) -> list[str]:
    """The rule files, written to `folder`. Some groups run only every few minutes."""
    for file in (ROOT / "monitoring/prometheus/rules").glob("*.yml"):
        rules = yaml.safe_load(file.read_text())
        for group in rules["groups"]:
            group.pop("interval", None)
        (folder / f"rules-{file.name}").write_text(yaml.safe_dump(rules))
    return [str(folder / "rules-*.yml")]

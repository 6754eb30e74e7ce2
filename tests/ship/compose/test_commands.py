"""The commands of the file run here without containers: Redis, Flower and the webhooks worker."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import redis as redis_client

from shared.redis_client import connect
from shared.settings import Settings
from tests.ship.compose.file import ROOT, Run, Services
from tests.support.ports import free_port


def test_redis_asks_for_a_password_and_keeps_everything(shipped_redis: str) -> None:
    with connect(shipped_redis, max_connections=1) as client:
        config = client.config_get("*")
    expected = {"appendonly": "yes", "appendfsync": "no", "save": ""}
    expected |= {"maxmemory-policy": "noeviction", "rdbcompression": "no"}
    expected["auto-aof-rewrite-min-size"] = str(256 * 2**20)
    assert {name: config[name] for name in expected} == expected
    without_password = re.sub(r":[^:@/]+@", "", shipped_redis)
    with pytest.raises(redis_client.AuthenticationError):
        connect(without_password, max_connections=1).ping()


def test_a_watcher_reads_lengths_and_no_picture(watcher: str) -> None:
    with connect(watcher, max_connections=1) as client:
        client.llen("bulk")
        for refused in (["ZCARD", "outstanding:bulk"], ["HGETALL", "job:x"], ["FLUSHALL"]):
            with pytest.raises(redis_client.exceptions.NoPermissionError):
                client.execute_command(*refused)


def test_flower_asks_for_a_password(watcher: str, secrets: Path, run: Run) -> None:
    line, default = _flower()
    port = free_port()
    line = line.replace("/run/secrets", str(secrets)).replace(f"--port={default}", f"--port={port}")
    user, password = (secrets / "flower_basic_auth").read_text().split(":")
    with run(["sh", "-ec", line], REDIS_URL=watcher):
        _wait_for(f"http://127.0.0.1:{port}/healthcheck")
        page = f"http://127.0.0.1:{port}/workers"
        assert httpx.get(page).status_code == 401
        assert httpx.get(page, auth=(user, password)).is_success


def test_flower_does_not_start_without_a_password(
    shipped_redis: str, tmp_path: Path, run: Run
) -> None:
    line, _ = _flower()
    line = line.replace("/run/secrets", str(tmp_path))
    with run(["sh", "-ec", line], REDIS_URL=shipped_redis) as flower:
        assert flower.wait(30) != 0


def test_the_webhooks_worker_is_healthy_once_it_runs(
    services: Services, shipped_redis: str, secrets: Path, tmp_path: Path, run: Run
) -> None:
    service = services["webhooks"]
    program, *check = service["healthcheck"]["test"][1:]
    assert program == "python"
    secret = (secrets / "webhook_secret").read_text()
    own = {"DATA_DIR": str(tmp_path), "REDIS_URL": shipped_redis}

    def is_healthy() -> bool:
        command = [sys.executable, *check]
        checked = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, check=False)
        return checked.returncode == 0

    assert not is_healthy()
    with run(service["command"], WEBHOOK_SECRET=secret, **own) as worker:
        assert any(is_healthy() for _ in range(100)) and worker.poll() is None


def test_the_webhooks_worker_does_not_start_without_a_secret(
    services: Services, shipped_redis: str, tmp_path: Path, run: Run
) -> None:
    own = {"DATA_DIR": str(tmp_path), "REDIS_URL": shipped_redis}
    with run(services["webhooks"]["command"], **own) as worker:
        assert worker.wait(30) != 0


def _flower() -> tuple[str, int]:
    """The command of Flower's image, and the port in it."""
    text = (ROOT / "Dockerfile.worker").read_text()
    [line] = re.findall(r'(?m)^CMD \["sh", "-ec", "(.*)"\]', text)
    port: int = Settings.model_fields["flower_port"].default
    assert f"--port={port} " in line and f"EXPOSE {port}\n" in text
    return line, port


def _wait_for(url: str) -> None:
    for _ in range(600):
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=30).is_success:
                return
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")

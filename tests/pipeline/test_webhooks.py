"""Webhooks from end to end: the real service, its webhook worker, and receivers on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.support.local_service import LocalService, local_service
from shared.jobs import Lane
from tests.workers.webhooks.receivers import Delivery, receiver

ROOT = Path(__file__).parents[2]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WORKER = ["celery", "-A", "workers.webhooks.app", "worker"]
JPEG = b"\xff\xd8\xff\xe0 no picture, but the worker has to look"


@pytest.fixture(scope="module")
def telling(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    environment = model_environment | {
        "WEBHOOKS": "true",
        "WEBHOOK_SECRET": SECRET,
        "WEBHOOK_ALLOW_PRIVATE": "true",
        "WEBHOOK_TIMEOUT_SECONDS": "0.5",
        "WORKER_PROCESSES": "1",
    }
    with local_service(tmp_path_factory.mktemp("telling"), environment) as running:
        running.start_worker(Lane.INTERACTIVE)
        running.start_web()
        running.start("webhooks", WORKER, {})
        running.await_ready()
        yield running


def submit(service: LocalService, url: str) -> str:
    answer = httpx.post(
        f"{service.base_url}/jobs",
        files={"files": ("a.jpg", JPEG + os.urandom(8))},
        data={"webhook": url},
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def documented_check() -> Any:
    """The function that docs/webhooks.md publishes."""
    _, _, rest = (ROOT / "docs/webhooks.md").read_text().partition("run by a test -->\n```python\n")
    code, _, _ = rest.partition("```")
    names: dict[str, Any] = {}
    exec(code, names)
    return names["is_genuine"]


def headers_of(delivery: Delivery) -> dict[str, str]:
    return {name.lower(): value for name, value in delivery.headers.items()}


def test_the_end_of_a_job_is_told_and_passes_the_published_check(telling: LocalService) -> None:
    with receiver(200) as found:
        job_id = submit(telling, found.url)
        [delivery] = found.await_deliveries(1)
        job = httpx.get(f"{telling.base_url}/jobs/{job_id}").json()
    assert delivery.event["data"] == job and job["state"] == "completed"
    Webhook(SECRET).verify(delivery.body, delivery.headers)
    is_genuine, headers = documented_check(), headers_of(delivery)
    assert is_genuine(SECRET, headers, delivery.body)
    assert not is_genuine(SECRET, headers, delivery.body.replace(b"completed", b"cancelled"))
    assert not is_genuine("whsec_" + "A" * 32, headers, delivery.body)
    assert not is_genuine(SECRET, headers | {"webhook-timestamp": "1"}, delivery.body)


def test_a_receiver_that_fails_hears_of_it_again(telling: LocalService) -> None:
    with receiver(500, 200) as found:
        submit(telling, found.url)
        started = time.monotonic()
        first, second = found.await_deliveries(2)
        assert time.monotonic() - started > 3
        time.sleep(0.5)
        assert len(found.deliveries) == 2
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert telling.redis().zcard("webhooks_due") == 0


def test_receivers_that_stand_still_hold_no_picture_up(telling: LocalService) -> None:
    with receiver(200) as found:
        found.gate.clear()
        for _ in range(20):
            submit(telling, found.url)
        found.await_deliveries(5)
        started = time.monotonic()
        answer = httpx.post(f"{telling.base_url}/api/v1/classify", content=JPEG)
        assert answer.json()["code"] in ("decode_failed", "truncated_image")
        assert time.monotonic() - started < 1
    telling.redis().delete("webhooks_due")  # nobody is there any more


def test_a_worker_that_is_killed_while_it_delivers_loses_nothing(telling: LocalService) -> None:
    with receiver(200) as found:
        found.gate.clear()
        submit(telling, found.url)
        found.await_deliveries(1)
        telling.stop("webhooks", signal.SIGKILL)
        found.gate.set()
        telling.start("webhooks", WORKER, {})
        first, second, *_ = found.await_deliveries(2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.parametrize("secret", ["", "whsec_dG9vIHNob3J0"])
def test_without_a_good_secret_the_worker_says_so_and_ends(
    telling: LocalService, secret: str
) -> None:
    environment = {**telling.environment, "WEBHOOK_SECRET": secret}
    run = subprocess.run(
        [sys.executable, "-m", *WORKER],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    said = run.stdout + run.stderr
    assert "WEBHOOK_SECRET must be" in said and not (secret and secret in said)


def test_no_secret_is_in_a_log(telling: LocalService) -> None:
    with receiver(200) as found:
        submit(telling, found.url + "?token=hush")
        found.await_deliveries(1)
    time.sleep(0.3)
    for name in ("web", "webhooks", Lane.INTERACTIVE):
        log = telling.log(name)
        assert log and "hush" not in log and SECRET not in log
    assert '"webhook delivered"' in telling.log("webhooks")

"""Webhooks from end to end: the real service, its webhooks worker, and receivers on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from shared.jobs import Lane
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until
from tests.workers.webhooks.receivers import Delivery, receiver

ROOT = Path(__file__).parents[2]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WORKER = ["celery", "-A", "workers.webhooks.app", "worker"]
JPEG = b"\xff\xd8\xff\xe0 no picture, which only a worker notices"


@pytest.fixture(scope="module")
def service_with_webhooks(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    environment = model_environment | {
        "WEBHOOKS": "true",
        "WEBHOOK_SECRET": SECRET,
        "WEBHOOK_ALLOW_PRIVATE": "true",
        "WEBHOOK_TIMEOUT_SECONDS": "2",
        "WORKER_PROCESSES": "1",
    }
    with local_service(tmp_path_factory.mktemp("webhooks"), environment) as running:
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


def test_the_end_of_a_job_is_delivered_and_passes_the_published_check(
    service_with_webhooks: LocalService,
) -> None:
    with receiver(200) as hook:
        job_id = submit(service_with_webhooks, hook.url)
        [delivery] = hook.await_deliveries(1)
        job = httpx.get(f"{service_with_webhooks.base_url}/jobs/{job_id}").json()
    assert delivery.event["data"] == job and job["state"] == "completed"
    Webhook(SECRET).verify(delivery.body, delivery.headers)
    is_genuine, headers = documented_check(), headers_of(delivery)
    assert is_genuine(SECRET, headers, delivery.body)
    assert not is_genuine(SECRET, headers, delivery.body.replace(b"completed", b"cancelled"))
    assert not is_genuine("whsec_" + "A" * 32, headers, delivery.body)
    assert not is_genuine(SECRET, headers | {"webhook-timestamp": "1"}, delivery.body)


def test_a_delivery_that_fails_is_tried_again_seconds_later(
    service_with_webhooks: LocalService,
) -> None:
    redis = service_with_webhooks.redis()
    with receiver(500, 200) as hook:
        job_id = submit(service_with_webhooks, hook.url)
        hook.await_deliveries(1)
        failed_at = time.time()
        # The lease of the first attempt ends, and the time of the second is set.
        wait_until(lambda: '"webhook failed"' in service_with_webhooks.log("webhooks"))
        assert redis.zscore("webhooks_due", job_id) > failed_at + 3
        redis.zadd("webhooks_due", {job_id: time.time()})
        first, second = hook.await_deliveries(2)
        wait_until(lambda: not redis.zcard("webhooks_due"))
        assert len(hook.deliveries) == 2
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_receivers_that_do_not_answer_delay_no_picture(
    service_with_webhooks: LocalService,
) -> None:
    with receiver(200) as hook:
        hook.gate.clear()
        for _ in range(20):
            submit(service_with_webhooks, hook.url)
        hook.await_deliveries(5)
        url = f"{service_with_webhooks.base_url}/api/v1/classify"
        answer = httpx.post(url, content=JPEG, timeout=20)
        assert answer.json()["code"] in ("decode_failed", "truncated_image")
        assert len(hook.deliveries) < 20, "the picture waited until all had been tried"
    service_with_webhooks.redis().delete("webhooks_due")  # this receiver has ended


@pytest.mark.long
def test_a_worker_that_is_killed_while_it_delivers_loses_nothing(
    service_with_webhooks: LocalService,
) -> None:
    redis = service_with_webhooks.redis()
    with receiver(200) as hook:
        hook.gate.clear()
        job_id = submit(service_with_webhooks, hook.url)
        hook.await_deliveries(1)
        service_with_webhooks.stop("webhooks", signal.SIGKILL)
        assert redis.zscore("webhooks_due", job_id) < time.time() + 30, "its lease ends soon"
        redis.zadd("webhooks_due", {job_id: time.time()})
        hook.gate.set()
        service_with_webhooks.start("webhooks", WORKER, {})
        first, second, *_ = hook.await_deliveries(2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.parametrize("secret", ["", "whsec_dG9vIHNob3J0"])
def test_the_worker_does_not_start_without_a_good_secret(
    service_with_webhooks: LocalService, secret: str
) -> None:
    environment = {**service_with_webhooks.environment, "WEBHOOK_SECRET": secret}
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


def test_no_secret_is_in_a_log(service_with_webhooks: LocalService) -> None:
    with receiver(200) as hook:
        submit(service_with_webhooks, hook.url + "?token=hush")
        hook.await_deliveries(1)
    wait_until(lambda: '"webhook delivered"' in service_with_webhooks.log("webhooks"))
    for name in ("web", "webhooks", Lane.INTERACTIVE):
        log = service_with_webhooks.log(name)
        assert log and "hush" not in log and SECRET not in log


def test_a_receiver_that_never_answers_does_not_delay_another(
    service_with_webhooks: LocalService,
) -> None:
    # All threads of the worker would be busy with these for 24 s.
    with socket.create_server(("127.0.0.2", 0)) as silent, receiver(200) as hook:
        for _ in range(200):
            submit(service_with_webhooks, f"http://127.0.0.2:{silent.getsockname()[1]}/")
        job_id = submit(service_with_webhooks, hook.url)
        [delivered] = hook.await_deliveries(1, seconds=10)
    assert delivered.event["data"]["id"] == job_id

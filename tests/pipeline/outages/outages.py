"""Three ways in which Redis goes away, and requests to a web process meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx
import pytest

from tests.support.local_service import LocalService
from tests.support.waiting import wait_until

PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"

Outage = Callable[[LocalService], AbstractContextManager[None]]


@contextmanager
def killed(service: LocalService) -> Iterator[None]:
    service.stop_redis(signal.SIGKILL)
    try:
        yield
    finally:
        service.start_redis()


@contextmanager
def stopped(service: LocalService) -> Iterator[None]:
    service.stop_redis()
    try:
        yield
    finally:
        service.start_redis()


@contextmanager
def frozen(service: LocalService) -> Iterator[None]:
    """Connections stay open and nothing is answered, so only time limits show the outage."""
    process = service.redis_process()
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


OUTAGES = pytest.mark.parametrize("outage", [killed, stopped, frozen])


def client_of(service: LocalService) -> httpx.Client:
    # Each client would read the machine's certificates, which costs more than web's own work.
    return httpx.Client(base_url=service.base_url, timeout=60, verify=False)


def submit(service: LocalService) -> httpx.Response:
    with client_of(service) as http:
        return http.post("/api/v1/classify?wait=0", content=PICTURE)


def await_accepted(service: LocalService, seconds: float = 20) -> httpx.Response:
    """Submit until the service accepts, as after an outage. Each refusal must be a 503."""
    answers: list[httpx.Response] = []

    def accepted() -> bool:
        answers.append(submit(service))
        assert answers[-1].status_code in (202, 503), answers[-1].text
        return answers[-1].status_code == 202

    wait_until(accepted, seconds)
    return answers[-1]


def await_readiness(service: LocalService, status: int, seconds: float = 20) -> None:
    """Return when `/readyz` answers with `status`."""

    def ready() -> bool:
        try:
            return httpx.get(f"{service.base_url}/readyz", timeout=5).status_code == status
        except httpx.TransportError:
            return False

    wait_until(ready, seconds, problem=f"/readyz does not answer {status}")

"""Flower's page about the broker, which reads the lengths of the queues."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import httpx

from tests.support.ports import free_port
from tests.support.waiting import wait_until


def broker_page(redis_url: str) -> httpx.Response:
    """The page of a Flower that runs with this address of Redis."""
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", "workers.flower", "flower", f"--port={port}"]
    answers: list[httpx.Response] = []

    def shown() -> bool:
        with suppress(httpx.TransportError):
            answers.append(httpx.get(f"http://127.0.0.1:{port}/broker", timeout=20))
        return bool(answers)

    with subprocess.Popen(command, env=os.environ | {"REDIS_URL": redis_url}) as flower:
        try:
            wait_until(shown, 30)
        finally:
            flower.kill()
    return answers[0]

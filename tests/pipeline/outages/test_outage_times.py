"""How soon a crowd of clients hears of an outage, and how soon the service has recovered."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.pipeline.outages.outages import (
    Outage,
    await_accepted,
    await_readiness,
    frozen,
    killed,
    submit,
)
from tests.support.local_service import LocalService

pytestmark = [pytest.mark.long, pytest.mark.alone]

#: To clients a Redis that was stopped looks like one that was killed: it refuses connections.
OUTAGES = pytest.mark.parametrize("outage", [killed, frozen])

#: Seconds. The promise is 2; the rest is for the clients' own threads, which share two cores.
IN_TIME = 2.5

#: Seconds from Redis's return to the first answer.
RECOVERY = 6.0


def timed_submit(service: LocalService) -> tuple[int, float, float]:
    """The status, the seconds that the answer took, and the time at which it came."""
    started = time.monotonic()
    status = submit(service).status_code
    ended = time.monotonic()
    return status, ended - started, ended


@OUTAGES
def test_a_crowd_that_submits_in_an_outage_is_refused_in_time(
    web: LocalService, outage: Outage
) -> None:
    await_accepted(web)
    with outage(web):
        with ThreadPoolExecutor(100) as clients:
            answers = list(clients.map(lambda _: timed_submit(web), range(100)))
        answers.append(timed_submit(web))
        await_readiness(web, 503, 3)
    await_readiness(web, 200, RECOVERY)
    await_accepted(web, RECOVERY)
    assert {status for status, _, _ in answers} == {503}
    assert max(seconds for _, seconds, _ in answers) < IN_TIME


@OUTAGES
def test_clients_whose_submits_an_outage_interrupts_are_refused_in_time(
    web: LocalService, outage: Outage
) -> None:
    """Some of the crowd wait for a connection to Redis, some to be stored, some for an answer."""
    answers: list[tuple[int, float, float]] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            answers.append(timed_submit(web))
            stop.wait(0.2)  # without a pause the clients would take the cores from web

    clients = [threading.Thread(target=client) for _ in range(60)]
    for each in clients:
        each.start()
    time.sleep(1.5)
    began = time.monotonic()
    with outage(web):
        time.sleep(2.5)
        stop.set()
        for each in clients:
            each.join(timeout=10)
    assert {status for status, _, _ in answers} == {202, 503}
    assert max(min(took, at - began) for status, took, at in answers if status == 503) < IN_TIME
    await_readiness(web, 200, RECOVERY)

"""What a refusal in front of Flask counts as."""

from __future__ import annotations

import time

import pytest

from shared.errors import Overloaded, TryLater
from shared.observe import metrics
from web.server.fairness.departures import ClientGone
from web.submit.refusals import Refusals

ROUTE = "/of a test"


@pytest.mark.parametrize(("refusal", "status"), [(Overloaded(), 503), (ClientGone(), 499)])
def test_a_request_whose_client_has_gone_is_no_bad_answer(refusal: TryLater, status: int) -> None:
    started: list[str] = []

    def start(answered: str, *_: object) -> None:
        started.append(answered)

    refusals, counter = Refusals(ROUTE, "GET"), metrics.HTTP_REQUESTS.labels(ROUTE, "GET", status)
    refused = metrics.REFUSALS.labels("overloaded", ROUTE)
    before = counter._value.get(), refused._value.get()
    [body] = refusals.answer(refusal, {}, start, time.perf_counter())  # type: ignore[arg-type]
    assert (started, b'"code":"overloaded"' in body) == (["503 Service Unavailable"], True)
    assert counter._value.get() - before[0] == 1
    assert refused._value.get() - before[1] == (status == 503)

"""Faults on the way: tried again where that helps, told by type where it does not."""

from __future__ import annotations

import socket
import threading
import time

import pytest

import shared.errors
from client import ImageClassifier, ImageClassifierError, NoAnswer, Refused, Retries
from client import errors
from tests.client.scripted_server import Answer, Cut, in_turn, refusal, scripted_server

LABELS = Answer(
    200,
    {
        "job_id": "j",
        "name": "cat.jpg",
        "predictions": [{"class_id": 281, "class_name": "tabby", "probability": 0.5, "new": 1}],
        "model_version": "m-1",
        "cache_hit": False,
        "durations": None,
        "a field of tomorrow": 1,
    },
)
QUICK = Retries(total_seconds=5, first_seconds=0.001)


def test_retry_after_is_waited_for_and_the_picture_is_then_classified() -> None:
    with scripted_server(in_turn(refusal(503, "overloaded", Retry_After="1"), LABELS)) as server:
        with ImageClassifier(server.url, retries=QUICK) as service:
            started = time.monotonic()
            assert service.classify(b"picture").label == "tabby"
    assert 1 <= time.monotonic() - started < 3


def test_a_cut_connection_is_tried_again_under_the_same_idempotency_key() -> None:
    with scripted_server(in_turn(Cut(), Cut(), LABELS)) as server:
        with ImageClassifier(server.url, retries=QUICK) as service:
            service.classify(b"picture")
    keys = {request.headers["Idempotency-Key"] for request in server.requests}
    assert (len(server.requests), len(keys)) == (3, 1)
    assert len({request.body for request in server.requests}) == 1


def test_two_calls_have_two_idempotency_keys() -> None:
    with scripted_server(in_turn(LABELS)) as server, ImageClassifier(server.url) as service:
        service.classify(b"picture")
        service.classify(b"picture")
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 2


def test_trying_again_ends_with_the_total_time_and_tells_why() -> None:
    impatient = Retries(total_seconds=0.3, first_seconds=0.05, longest_seconds=0.05)
    with scripted_server(in_turn(refusal(503, "unavailable"))) as server:
        with ImageClassifier(server.url, retries=impatient) as service:
            started = time.monotonic()
            with pytest.raises(errors.TryLater) as raised:
                service.classify(b"picture")
    assert time.monotonic() - started < 2
    assert (raised.value.code, raised.value.status) == ("unavailable", 503)
    assert len(server.requests) > 2


def test_a_wait_that_is_asked_for_and_longer_than_the_total_time_is_not_begun() -> None:
    with scripted_server(in_turn(refusal(429, "rate_limited", Retry_After="3600"))) as server:
        with ImageClassifier(server.url) as service:
            with pytest.raises(errors.RateLimited) as raised:
                service.classify(b"picture")
    assert raised.value.retry_after == 3600
    assert len(server.requests) == 1


def test_what_is_wrong_stays_wrong_and_is_asked_once() -> None:
    with scripted_server(in_turn(refusal(415, "unsupported_format"))) as server:
        with ImageClassifier(server.url, retries=QUICK) as service:
            with pytest.raises(errors.UnsupportedFormat):
                service.classify(b"text")
    assert len(server.requests) == 1


def test_a_proxy_s_page_is_an_error_by_its_status() -> None:
    with scripted_server(in_turn(Answer(502, "<html>"))) as server:
        with ImageClassifier(server.url, retries=Retries(total_seconds=0)) as service:
            with pytest.raises(errors.TryLater) as raised:
                service.classify(b"picture")
    assert raised.value.code == "http_502"


def test_the_key_is_sent_but_not_to_where_a_redirect_leads() -> None:
    elsewhere = Answer(307, None, {"Location": "/elsewhere"})
    with scripted_server(in_turn(elsewhere)) as server:
        with ImageClassifier(server.url, "imgc_key") as service, pytest.raises(Refused):
            service.classify(b"picture")
    [request] = server.requests
    assert request.headers["Authorization"] == "Bearer imgc_key"


def test_a_service_that_accepts_and_says_nothing_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.api.connection.TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with ImageClassifier(url, retries=Retries(total_seconds=0)) as service:
            with pytest.raises(NoAnswer, match="ReadTimeout"):
                service.classify(b"picture")


def test_what_is_no_address_is_told_at_once() -> None:
    for url in ("localhost:8000", "ftp://x", "", "http://"):
        with pytest.raises(ImageClassifierError, match="address"):
            ImageClassifier(url or " ")


def test_a_key_that_no_header_can_carry_is_told_without_showing_it() -> None:
    with pytest.raises(ImageClassifierError) as raised:
        ImageClassifier("http://127.0.0.1", "geheim\n")
    assert "geheim" not in str(raised.value)


def test_the_codes_that_have_an_exception_are_codes_of_the_service() -> None:
    """Others fall back on the status, so that an older client meets a newer service."""

    def below(top: type[shared.errors.ClassifierError]) -> set[str]:
        return {top.code}.union(*map(below, top.__subclasses__()))

    assert set(Refused.by_code) <= below(shared.errors.ClassifierError)


def test_a_code_of_tomorrow_is_an_exception_by_its_status() -> None:
    with scripted_server(in_turn(refusal(409, "of_tomorrow"))) as server:
        with ImageClassifier(server.url) as service, pytest.raises(errors.Conflict) as raised:
            service.classify(b"picture")
    assert raised.value.code == "of_tomorrow"


def test_pauses_are_jittered_from_nothing_to_a_longest() -> None:
    retries = Retries(first_seconds=0.5, longest_seconds=20)
    first = [retries.pause(0, None) for _ in range(200)]
    late = [retries.pause(10_000, None) for _ in range(200)]
    asked = [retries.pause(0, 7) for _ in range(200)]
    assert 0 <= min(first) < 0.1 and 0.4 < max(first) <= 0.5
    assert min(late) < 2 and 18 < max(late) <= 20
    assert 7 <= min(asked) and max(asked) <= 7.5


def test_a_pause_ends_when_the_client_is_stopped() -> None:
    with scripted_server(in_turn(refusal(503, "overloaded", Retry_After="30"))) as server:
        with ImageClassifier(server.url) as service:
            threading.Timer(0.1, service.connection.stopping.set).start()
            started = time.monotonic()
            with pytest.raises(errors.Overloaded):
                service.classify(b"picture")
    assert time.monotonic() - started < 5


def test_a_file_name_cannot_end_its_header() -> None:
    from client.api.multipart import Form

    form = Form([("file", 'a"\r\nX-Evil: 1\r\n\r\n.jpg', b"x")])
    head = form.pieces[0].decode()
    assert "X-Evil" not in {line.partition(":")[0] for line in head.split("\r\n")}
    assert int(form.headers["Content-Length"]) == len(b"".join(form.pieces))

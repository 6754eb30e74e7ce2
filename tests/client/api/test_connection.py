"""Faults of the connection: a retry where it may help, else an exception of the right class."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import shared.errors
from client import ImageClassifier, ImageClassifierError, NoAnswer, Refused, Retries, errors
from tests.support.local_service import free_port
from tests.client.scripted_server import Answer, Cut, in_order, refusal, scripted_server

LABELS = Answer(
    200,
    {
        "job_id": "j",
        "name": "cat.jpg",
        "predictions": [{"class_id": 281, "class_name": "tabby", "probability": 0.5, "new": 1}],
        "model_version": "m-1",
        "cache_hit": False,
        "durations": None,
        "an unknown field": 1,
    },
)
QUICK = Retries(total_seconds=5, first_seconds=0.001)


class Time:
    """A clock that pauses move on at once. It replaces the connection's clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.pauses.append(seconds)
        return False


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of every connection, which take no time."""
    time = Time()
    monkeypatch.setattr("client.api.transport.connection.time", time)
    threading = SimpleNamespace(Event=lambda: time)
    monkeypatch.setattr("client.api.transport.connection.threading", threading)
    return time.pauses


def test_the_client_waits_for_retry_after_and_then_classifies(pauses: list[float]) -> None:
    with scripted_server(in_order(refusal(503, "overloaded", Retry_After="3"), LABELS)) as server:
        with ImageClassifier(server.url, retries=QUICK) as service:
            assert service.classify(b"picture").label == "tabby"
    [pause] = pauses
    assert 3 <= pause <= 3 + QUICK.first_seconds


def test_a_cut_connection_is_tried_again_under_the_same_idempotency_key() -> None:
    with scripted_server(in_order(Cut(), Cut(), LABELS)) as server:
        with ImageClassifier(server.url, retries=QUICK) as service:
            service.classify(b"picture")
    keys = {request.headers["Idempotency-Key"] for request in server.requests}
    assert (len(server.requests), len(keys)) == (3, 1)
    assert len({request.body for request in server.requests}) == 1


def test_two_calls_have_two_idempotency_keys() -> None:
    with scripted_server(in_order(LABELS)) as server, ImageClassifier(server.url) as service:
        service.classify(b"picture")
        service.classify(b"picture")
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 2


def test_retries_end_with_the_total_time_and_raise_the_last_error(pauses: list[float]) -> None:
    impatient = Retries(total_seconds=10, first_seconds=2, longest_seconds=2)
    with scripted_server(in_order(refusal(503, "unavailable"))) as server:
        with ImageClassifier(server.url, retries=impatient) as service:
            with pytest.raises(errors.TryLater) as raised:
                service.classify(b"picture")
    assert (raised.value.code, raised.value.status) == ("unavailable", 503)
    assert len(server.requests) == len(pauses) + 1 >= 5
    assert sum(pauses) == pytest.approx(10), "the last attempt is made at the end"


def test_a_retry_after_beyond_the_total_time_is_not_waited_for() -> None:
    with scripted_server(in_order(refusal(429, "rate_limited", Retry_After="3600"))) as server:
        with ImageClassifier(server.url) as service:
            with pytest.raises(errors.RateLimited) as raised:
                service.classify(b"picture")
    assert raised.value.retry_after == 3600
    assert len(server.requests) == 1


def test_a_wrong_request_is_sent_once() -> None:
    with scripted_server(in_order(refusal(415, "unsupported_format"))) as server:
        with ImageClassifier(server.url, retries=QUICK) as service:
            with pytest.raises(errors.UnsupportedFormat):
                service.classify(b"text")
    assert len(server.requests) == 1


def test_an_error_page_of_a_proxy_is_an_error_by_its_status() -> None:
    with scripted_server(in_order(Answer(502, "<html>"))) as server:
        with ImageClassifier(server.url, retries=Retries(total_seconds=0)) as service:
            with pytest.raises(errors.TryLater) as raised:
                service.classify(b"picture")
    assert raised.value.code == "http_502"


def test_the_key_is_sent_and_a_redirect_is_not_followed() -> None:
    elsewhere = Answer(307, None, {"Location": "/elsewhere"})
    with scripted_server(in_order(elsewhere)) as server:
        with ImageClassifier(server.url, "imgc_key") as service, pytest.raises(Refused):
            service.classify(b"picture")
    [request] = server.requests
    assert request.headers["Authorization"] == "Bearer imgc_key"


def test_a_service_that_accepts_and_never_answers_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.api.transport.http_client.TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with ImageClassifier(url, retries=Retries(total_seconds=0)) as service:
            with pytest.raises(NoAnswer, match=r"127\.0\.0\.1:\d+ did not answer: timed out"):
                service.classify(b"picture")


def test_the_first_call_waits_for_a_service_only_when_asked(pauses: list[float]) -> None:
    address = f"127.0.0.1:{free_port()}"
    for waits in (False, True):
        retries = Retries(total_seconds=10, wait_for_service=waits)
        with ImageClassifier(address, retries=retries) as service:
            with pytest.raises(errors.CannotConnect, match=rf"{address} \(Connection refused\)"):
                service.check()
        assert bool(pauses) == waits


def test_a_service_that_has_answered_before_is_waited_for(pauses: list[float]) -> None:
    retries = Retries(total_seconds=10, wait_for_service=False)
    with scripted_server(in_order(Answer(200, {}, {"Connection": "close"}))) as server:
        service = ImageClassifier(server.url, retries=retries)
        service.check()
    with service, pytest.raises(NoAnswer):
        service.check()
    assert pauses


def test_a_missing_or_wrong_key_names_the_variable_to_set() -> None:
    with scripted_server(in_order(refusal(401, "not_authenticated"))) as server:
        with ImageClassifier(server.url) as service:
            with pytest.raises(errors.NotAuthenticated, match="IMAGE_CLASSIFIER_API_KEY"):
                service.check()


def test_a_key_that_no_header_can_carry_is_refused_without_showing_it() -> None:
    with pytest.raises(ImageClassifierError) as raised:
        ImageClassifier("http://127.0.0.1", "geheim\n")
    assert "geheim" not in str(raised.value)


def test_the_codes_that_have_an_exception_are_codes_of_the_service() -> None:
    """Other codes become exceptions by their status: an old client works with a new service."""

    def below(top: type[shared.errors.ClassifierError]) -> set[str]:
        return {top.code}.union(*map(below, top.__subclasses__()))

    assert set(Refused.by_code) <= below(shared.errors.ClassifierError)


def test_an_unknown_code_is_an_exception_by_its_status() -> None:
    with scripted_server(in_order(refusal(409, "unknown_code"))) as server:
        with ImageClassifier(server.url) as service, pytest.raises(errors.Conflict) as raised:
            service.classify(b"picture")
    assert raised.value.code == "unknown_code"


def test_pauses_are_random_between_zero_and_the_longest() -> None:
    retries = Retries(first_seconds=0.5, longest_seconds=20)
    first = [retries.pause(0, 0) for _ in range(200)]
    late = [retries.pause(10_000, 0) for _ in range(200)]
    asked = [retries.pause(0, 7) for _ in range(200)]
    assert 0 <= min(first) < 0.1 and 0.4 < max(first) <= 0.5
    assert min(late) < 2 and 18 < max(late) <= 20
    assert 7 <= min(asked) and max(asked) <= 7.5


def test_a_pause_ends_when_the_client_is_stopped() -> None:
    def stop(error: ImageClassifierError, pause: float) -> None:
        threading.Timer(0.05, service.connection.stopping.set).start()

    with scripted_server(in_order(refusal(503, "overloaded", Retry_After="20"))) as server:
        with ImageClassifier(server.url, on_retry=stop) as service:
            with pytest.raises(errors.Overloaded):
                service.classify(b"picture")
    assert len(server.requests) == 1, "the pause went on to its end"


def test_a_form_has_a_known_length_and_is_sent_again_as_it_was() -> None:
    with scripted_server(in_order(Cut(), LABELS)) as server:
        with ImageClassifier(server.url, retries=QUICK) as service:
            service.classify(b"picture " * 100_000)
    first, second = server.requests
    assert first.body == second.body and first.headers == second.headers
    assert first.headers["Content-Length"] == str(len(first.body))
    assert first.body.count(b"picture " * 100_000) == 1


def test_a_file_name_cannot_end_its_header(tmp_path: Path) -> None:
    picture = tmp_path / 'a"\r\nX-Evil: 1\r\n\r\n.jpg'
    picture.write_bytes(b"picture")
    with scripted_server(in_order(LABELS)) as server:
        with ImageClassifier(server.url) as service:
            service.classify(picture)
    [request] = server.requests
    head = request.body[: request.body.index(b"\r\n\r\n")].decode()
    assert [line.partition(":")[0] for line in head.split("\r\n")[1:]] == [
        *("Content-Disposition", "Content-Type")
    ]
    assert 'filename="a%22%0D%0AX-Evil: 1%0D%0A%0D%0A.jpg"' in head

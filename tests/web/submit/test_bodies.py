"""What the request bodies of a process, and of one of its clients, may take at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from tests.support.bodies import JPEG, Unreadable
from tests.web.intake.archive_files import zipped
from web.http import api_keys

CLASSIFY, JOBS, PART = "/api/v1/classify", "/api/v1/jobs", "/api/v1/jobs/{id}/parts/0"


@pytest.fixture
def make(make_app: Callable[..., OpenAPI]) -> Callable[..., OpenAPI]:
    """Makes applications that wait neither for results nor for memory."""
    return partial(make_app, wait_seconds=0, body_wait_seconds=0)


class Slow(io.BytesIO):
    """A body that calls `then` when it is read for the first time, before its bytes come."""

    def __init__(self, data: bytes, then: Callable[[], object]) -> None:
        super().__init__(data)
        self._then: Callable[[], object] | None = then

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        if then := self._then:
            self._then = None
            then()
        return super().read(size)


def start(
    client: FlaskClient,
    then: Callable[[], object],
    address: str = "10.0.0.1",
    path: str = CLASSIFY,
    length: int = 1000,
    kind: str = "image/jpeg",
) -> TestResponse:
    """Send a body of `length` bytes, and call `then` while the service waits for it."""
    data = JPEG.ljust(length, b"\0")
    return client.open(
        path,
        method="PUT" if "/parts/" in path else "POST",
        input_stream=Slow(data, then),
        content_length=length,
        content_type=kind,
        environ_overrides={"REMOTE_ADDR": address},
    )


def nested(client: FlaskClient, count: int, then: Callable[[], object], **kind: Any) -> list[int]:
    """Let `count` uploads of one client be under way at once, and call `then` while they are.

    Gives the statuses of those that were refused before their bodies were read.
    """
    refused: list[int] = []

    def one_more(left: int) -> None:
        if not left:
            then()
            return
        read: list[None] = []

        def go_on() -> None:
            read.append(None)
            one_more(left - 1)

        answer = start(client, go_on, **kind)
        if not read:
            refused.append(answer.status_code)
            one_more(left - 1)

    one_more(count)
    return refused


def classify(client: FlaskClient, address: str, **headers: str) -> int:
    return client.post(
        f"{CLASSIFY}?wait=0",
        data=JPEG + address.encode(),
        headers=headers,
        environ_overrides={"REMOTE_ADDR": address},
    ).status_code


# Shares


def test_slow_uploads_of_one_client_refuse_no_other_client(make: Callable[..., OpenAPI]) -> None:
    client = make(max_concurrent_submissions=10).test_client()
    others: list[int] = []
    refused = nested(client, 12, lambda: others.append(classify(client, "10.0.0.2")))
    assert others == [202]
    assert refused == [503] * 7


def test_large_uploads_of_one_client_refuse_no_other_client(
    make: Callable[..., OpenAPI],
) -> None:
    client = make(max_body_memory_bytes=1_000_000).test_client()
    others: list[int] = []
    refused = nested(client, 8, lambda: others.append(classify(client, "10.0.0.2")), length=200_000)
    assert others == [202]
    assert refused == [503] * 5


def test_an_address_of_the_same_ipv6_network_is_the_same_client(
    make: Callable[..., OpenAPI],
) -> None:
    client = make(max_concurrent_submissions=2).test_client()
    others: list[int] = []

    def ask() -> None:
        others.extend(classify(client, address) for address in ("2001:db8::2", "2001:db8:0:1::1"))

    start(client, ask, "2001:db8::1")
    assert others == [503, 202]


def test_a_client_with_a_key_is_known_by_the_key(
    make: Callable[..., OpenAPI], tmp_path: Any
) -> None:
    file = tmp_path / "keys"
    lines = [api_keys.line(name, f"key of {name}") for name in ("a", "b")]
    file.write_text("\n".join(lines))
    client = make(max_concurrent_submissions=2, api_keys_file=file).test_client()
    others: list[int] = []

    def ask() -> None:
        for key in ("key of a", "key of b", "no key"):
            headers = {"X-API-Key": key}
            answer = client.post(f"{CLASSIFY}?wait=0", data=JPEG, headers=headers)
            others.append(answer.status_code)

    client.post(
        CLASSIFY,
        input_stream=Slow(JPEG, ask),
        content_length=len(JPEG),
        headers={"X-API-Key": "key of a"},
    )
    assert others == [503, 202, 401]


def test_a_refusal_comes_before_the_body_is_read(make: Callable[..., OpenAPI]) -> None:
    client = make(max_body_memory_bytes=300_000).test_client()
    answers: list[TestResponse] = []

    def ask() -> None:
        for path in (CLASSIFY, JOBS):
            body = Unreadable(bytes(200_000))
            answers.append(client.post(path, input_stream=body, content_type="image/jpeg"))

    start(client, ask, "127.0.0.1", length=200_000)
    assert [(each.status_code, each.json["code"]) for each in answers] == [(503, "overloaded")] * 2
    assert {each.headers["Retry-After"] for each in answers} == {"5"}


def test_parts_count_like_all_other_bodies(make: Callable[..., OpenAPI]) -> None:
    client = make(max_concurrent_submissions=2).test_client()
    job_id = client.post("/jobs", json={"total": 1}).json["job"]["id"]
    path = PART.format(id=job_id)
    others: list[int] = []

    def ask() -> None:
        files = {"files": (io.BytesIO(JPEG), "a.jpg")}
        others.append(client.put(f"/jobs/{job_id}/parts/0", data=files).status_code)
        others.append(classify(client, "10.0.0.2"))

    start(client, ask, "127.0.0.1", path, kind="multipart/form-data; boundary=b")
    assert others == [503, 202]


def test_archives_that_arrive_slowly_take_no_places(make: Callable[..., OpenAPI]) -> None:
    """They may have half of the disk's limit. Two of them refused those of others."""
    client = make().test_client()
    others: list[int] = []

    def ask() -> None:
        def another() -> None:
            others.append(0)

        start(client, another, "10.0.0.2", JOBS, kind="application/zip")

    refused = nested(client, 5, ask, path=JOBS, kind="application/zip")
    assert others == [0], "the other client's archive is read"
    assert 503 not in refused


def test_a_picture_that_is_stored_takes_no_memory_while_its_client_waits(
    make: Callable[..., OpenAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make(max_body_memory_bytes=300_000)
    client = app.test_client()
    commits = app.extensions["backend"].commits
    started: list[int] = []
    answers: list[int] = []

    class Waiter:
        outcome = None

        def until(self, done: Callable[[], object], seconds: float, client: object) -> None:
            """Another client comes while this one waits."""
            if len(started) < 4:
                post()

    @contextmanager
    def waiting(self: Any, job_id: str) -> Iterator[Waiter]:
        yield Waiter()

    def post() -> None:
        started.append(len(started))
        headers = {"Idempotency-Key": str(len(started))} if len(started) % 2 else {}
        data = (JPEG + b"%d" % len(started)).ljust(140_000, b"\0")
        answers.append(client.post(CLASSIFY, data=data, headers=headers).status_code)

    monkeypatch.setattr(type(commits), "waiting", waiting)
    post()
    assert answers == [202] * 4


@pytest.mark.parametrize("raw", [False, True])
def test_archives_of_one_client_leave_room_for_others(
    make: Callable[..., OpenAPI], raw: bool
) -> None:
    app = make()
    client = app.test_client()

    def post(address: str) -> int:
        archive = zipped([("a.jpg", JPEG)])
        form: dict[str, Any] = {"data": {"files": (io.BytesIO(archive), "a.zip")}}
        body = {"data": archive, "content_type": "application/zip"}
        sender = {"REMOTE_ADDR": address}
        return client.post("/jobs", **(body if raw else form), environ_overrides=sender).status_code

    uploads = app.extensions["backend"].archive_uploads
    with uploads.unpacking("address 10.0.0.1"), uploads.unpacking("address 10.0.0.1"):
        assert [post("10.0.0.1"), post("10.0.0.2")] == [503, 202]
    assert post("10.0.0.1") == 202

"""JSON that is too long, or has too many values, is refused before it is parsed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from pydantic import ValidationError
from redis import Redis
from werkzeug.datastructures import MultiDict

from shared.errors import InvalidRequest, WrongPartSize
from tests.support.bodies import Unreadable
from tests.web.submit.asking import submit
from web.intake.parts import read_part
from web.schemas.submission import OpenRequest, largest_open_request


def test_a_long_json_body_is_refused_before_it_is_read(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(wait_seconds=0, max_job_images=100).test_client()
    body = Unreadable(bytes(largest_open_request(100) + 1))
    answer = client.post("/jobs", input_stream=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (413, "request_too_large")


def test_a_long_json_body_in_chunks_is_refused(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(wait_seconds=0, max_job_images=100).test_client()
    answer = client.post(
        "/jobs",
        input_stream=io.BytesIO(b" " * largest_open_request(100) + b'{"total": 1}'),
        content_type="application/json",
        environ_overrides={"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
    )
    assert (answer.status_code, answer.json["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    "text",
    [
        '{"total": 5, "digests": [' + '"",' * 300 + '""]}',
        '{"total": 5, "x": [' + "[]," * 150 + "[]]}",
        '{"total": 5, "x": [' + "{}," * 150 + "{}]}",
        '{"total": 5,' + ",".join(f'"{k}": 1' for k in range(200)) + "}",
        '{"total": 5, "x": {' + ",".join(f'"{k}": 1' for k in range(200)) + "}}",
    ],
    ids=["values", "lists", "objects", "fields", "fields of a field"],
)
def test_json_of_many_values_is_refused_before_it_is_parsed(
    make_app: Callable[..., OpenAPI], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_app(wait_seconds=0, max_job_images=100).test_client()
    monkeypatch.setattr(
        OpenRequest, "model_validate_json", lambda data: pytest.fail("it is parsed")
    )
    answer = client.post("/jobs", data=text, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
    assert "too many values" in answer.json["detail"]


def test_many_bad_entries_of_a_part_are_one_error() -> None:
    with pytest.raises(ValidationError) as raised:
        read_part({"items": f"[{'{},' * 1000}{{}}]"}, MultiDict(), items=1, max_bytes=1)
    assert raised.value.error_count() == 1


def test_only_as_many_fields_and_entries_of_a_part_are_checked_as_can_be_right() -> None:
    fields = json.dumps([{f"field {k}": k for k in range(1000)}])
    with pytest.raises(ValidationError) as raised:
        read_part({"items": fields}, MultiDict(), items=1, max_bytes=1)
    assert raised.value.error_count() < 10
    entries = json.dumps([{"name": "", "digest": "0" * 64}] * 1000)
    with pytest.raises(WrongPartSize, match="had more than 32 items and 0 files"):
        read_part({"items": entries}, MultiDict(), items=32, max_bytes=1)


@pytest.mark.parametrize("text", ["[" * 10_000, "[", "[" + "9" * 100_000 + "]"])
def test_entries_that_cannot_be_parsed_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="items: This is not valid JSON"):
        read_part({"items": text}, MultiDict(), items=1, max_bytes=1)


def test_a_lone_surrogate_in_the_name_of_a_field_is_replaced() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden") as raised:
        read_part({"items": r'[{"\ud83d": 1}]'}, MultiDict(), items=1, max_bytes=1)
    assert "\ufffd" in [step for each in raised.value.errors() for step in each["loc"]]


@pytest.mark.parametrize(
    ("data", "kind", "code"),
    [
        (b"a&" * 1000, "application/x-www-form-urlencoded", "invalid_request"),
        (bytes(500_001), "application/x-www-form-urlencoded", "request_too_large"),
        (b"a&" * 1000, "text/plain", "no_files"),
    ],
)
def test_a_part_that_is_no_form_with_files_is_refused_before_it_is_parsed(
    make_app: Callable[..., OpenAPI],
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    kind: str,
    code: str,
) -> None:
    client = make_app(wait_seconds=0).test_client()
    job_id = client.post("/jobs", json={"total": 1}).json["job"]["id"]
    monkeypatch.setattr(
        "werkzeug.formparser.FormDataParser.parse", lambda *_: pytest.fail("it is parsed")
    )
    answer = client.put(f"/jobs/{job_id}/parts/0", data=data, content_type=kind)
    assert answer.json["code"] == code


def test_the_largest_job_can_be_opened_with_all_its_digests(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    client = make_app(wait_seconds=0, max_job_images=1000).test_client()
    body = {"total": 1000, "digests": ["a" * 64] * 1000}
    text = json.dumps(body, indent=8)
    answer = client.post("/jobs", data=text, content_type="application/json")
    assert answer.status_code == 201
    assert submit(client).status_code == 202


def test_an_answer_repeats_the_beginning_of_a_name_only(client: FlaskClient) -> None:
    """Hundreds of such answers that nobody reads would take gigabytes."""
    answer = client.post("/jobs", json={"total": 1, "n" * 2**20: 1})
    assert answer.json["code"] == "unknown_field"
    assert len(answer.data) < 1000


def test_a_long_body_must_be_in_ascii(client: FlaskClient) -> None:
    body = '{"total": 1, "%s\N{SNOWMAN}": 1}'
    short, long = (body % ("n" * length) for length in (10, 2**19))
    for text, code in ((short, "unknown_field"), (long, "invalid_request")):
        answer = client.post("/jobs", data=text.encode(), content_type="application/json")
        assert answer.json["code"] == code

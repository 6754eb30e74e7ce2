"""JSON that is too long, or has too many values, is refused before it is parsed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from flask_openapi import OpenAPI
from pydantic import ValidationError
from redis import Redis
from werkzeug.datastructures import MultiDict

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


def test_the_largest_job_can_be_opened_with_all_its_digests(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    client = make_app(wait_seconds=0, max_job_images=1000).test_client()
    body = {"total": 1000, "digests": ["a" * 64] * 1000}
    text = json.dumps(body, indent=8)
    answer = client.post("/jobs", data=text, content_type="application/json")
    assert answer.status_code == 201
    assert submit(client).status_code == 202

"""A request that is made in a wrong way is answered with what the call expects."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage

from tests.support.bodies import JPEG
from tests.web.intake.archive_files import zipped
from web.schemas.job import RAW_PART

CLASSIFY = "/api/v1/classify"
FORM = "a form (multipart/form-data)"
URLENCODED = "application/x-www-form-urlencoded"
PICTURE = {"content_type": "image/jpeg", "data": JPEG}
ALLOWED_IN_FORM = (
    "Allowed here: `files`, `top_k`, `min_score`, `lane`, `custom_id`, `webhook`, `thumbnails`, "
    "`embeddings`."
)
OR_AN_ARCHIVE = "Or send an archive as the body, of a type such as `application/zip`."

CASES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "JSON to classify": (
        CLASSIFY,
        {"json": {"url": "https://example.com/cat.jpg"}},
        "unsupported_format",
        f"The body is JSON. Send the picture in the field `file` of {FORM}, or as the body itself.",
    ),
    "fields without files to classify": (
        CLASSIFY,
        {"data": {"url": "https://example.com/cat.jpg"}, "content_type": URLENCODED},
        "unsupported_format",
        f"The body is a form without files. Send the picture in the field `file` of {FORM}, or as "
        "the body itself.",
    ),
    "a picture as a job": (
        "/jobs",
        PICTURE,
        "no_files",
        f"Send the pictures in the field `files` of {FORM}; the body was image/jpeg. "
        + OR_AN_ARCHIVE,
    ),
    "a job without a content type": (
        "/jobs",
        {"data": JPEG},
        "no_files",
        f"Send the pictures in the field `files` of {FORM}; the body had no content type. "
        + OR_AN_ARCHIVE,
    ),
    "an archive without its content type": (
        "/jobs?top_k=3",
        {"data": b"PK\x03\x04"},
        "no_files",
        f"Send the pictures in the field `files` of {FORM}; the body had no content type. "
        + OR_AN_ARCHIVE,
    ),
    "a job as another form": (
        "/jobs",
        {"data": "files=a.jpg", "content_type": "application/x-www-form-urlencoded"},
        "no_files",
        f"Send the pictures in the field `files` of {FORM}; the body was "
        f"application/x-www-form-urlencoded. {OR_AN_ARCHIVE}",
    ),
    "another field in a form": (
        "/jobs",
        {"data": {"files": FileStorage(io.BytesIO(JPEG), "a.jpg"), "color": "red"}},
        "unknown_field",
        f"Unknown field `color`. {ALLOWED_IN_FORM}",
    ),
    "another field in JSON": (
        "/jobs",
        {"json": {"files": []}},
        "unknown_field",
        "Unknown field `files`. Allowed here: `total`, `top_k`, `min_score`, "
        "`lane`, `webhook`, `thumbnails`, `embeddings`, `digests`.",
    ),
    "another option in the address": (
        f"{CLASSIFY}?topk=1",
        PICTURE,
        "unknown_field",
        "Unknown field `topk`. Allowed here: `top_k`, `min_score`, `embeddings`, `wait`.",
    ),
    "a list as JSON": (
        "/jobs",
        {"json": [1]},
        "invalid_request",
        "body: Input should be an object",
    ),
    "half a JSON object": (
        "/jobs",
        {"data": '{"total": ', "content_type": "application/json"},
        "invalid_request",
        "The body is not valid JSON: EOF while parsing a value at line 1 column 10.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_answer_names_what_is_expected(client: FlaskClient, case: str) -> None:
    path, request, code, detail = CASES[case]
    answer = client.post(path, **request).json
    assert (answer["code"], answer["detail"]) == (code, detail)


@pytest.mark.parametrize("request_of", [PICTURE, {"json": {"files": []}}])
def test_a_part_that_is_no_form_is_answered_with_what_is_expected(
    client: FlaskClient, request_of: dict[str, Any]
) -> None:
    job_id = client.post("/jobs", json={"total": 1}).json["job"]["id"]
    answer = client.put(f"/jobs/{job_id}/parts/0", **request_of).json
    kind = request_of.get("content_type", "application/json")
    assert answer["code"] == "no_files"
    expected = f"Send the pictures in the field `files` of {FORM}; the body was {kind}."
    assert answer["detail"] == f"{expected} Or send a body of the type `{RAW_PART}`."


def test_an_entry_of_a_part_with_another_field_is_named(client: FlaskClient) -> None:
    job_id = client.post("/jobs", json={"total": 1}).json["job"]["id"]
    items = '[{"name": "a", "sha": "b"}]'
    answer = client.put(
        f"/jobs/{job_id}/parts/0", data={"items": items}, content_type="multipart/form-data"
    ).json
    assert answer["code"] == "unknown_field" and answer["detail"].startswith(
        "Unknown field `0.sha`"
    )


def test_a_picture_in_a_body_that_is_called_json_is_a_picture(client: FlaskClient) -> None:
    sent = client.post(f"{CLASSIFY}?wait=0", data=JPEG, content_type="application/json")
    assert sent.status_code == 202


def test_an_archive_needs_no_type_of_its_own(client: FlaskClient) -> None:
    data = zipped([("a.jpg", JPEG), ("b.jpg", JPEG)])
    answer = client.post("/jobs", data=data, content_type="application/octet-stream")
    assert (answer.status_code, answer.json["counts"]["total"]) == (202, 2)
    answer = client.post("/jobs", data=JPEG, content_type="application/octet-stream")
    assert answer.json["code"] == "bad_archive"

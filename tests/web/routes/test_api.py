"""Calls of the API without a worker: refusals, each with its status and code, and short answers."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.datastructures import FileStorage

from shared.jobs import Lane
from shared.serving import model_info
from tests.support.bodies import JPEG
from tests.support.stored_jobs import new_model


def file(data: bytes = JPEG, name: str = "cat.jpg") -> FileStorage:
    return FileStorage(io.BytesIO(data), name)


def form(**fields: Any) -> dict[str, Any]:
    return {"data": fields, "content_type": "multipart/form-data"}


CLASSIFY = "/api/v1/classify"
JOBS = "/jobs"

REFUSALS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "empty body": (CLASSIFY, {"data": b""}, 422, "empty_file"),
    "empty file": (CLASSIFY, form(file=file(b"")), 422, "empty_file"),
    "text called .jpg": (CLASSIFY, form(file=file(b"hi")), 415, "unsupported_format"),
    "text as the body": (CLASSIFY, {"data": b"hi"}, 415, "unsupported_format"),
    "file too large": (CLASSIFY, form(file=file(JPEG + bytes(300_000))), 413, "image_too_large"),
    "body too large": (CLASSIFY, {"data": JPEG + bytes(400_000)}, 413, "request_too_large"),
    "no file": (CLASSIFY, form(top_k="3"), 422, "no_files"),
    "file in another field": (CLASSIFY, form(image=file()), 422, "no_files"),
    "two files": (CLASSIFY, form(file=[file(), file()]), 422, "invalid_request"),
    "file as text": (CLASSIFY, form(file="cat"), 422, "invalid_request"),
    "unknown form field": (CLASSIFY, form(file=file(), topk="3"), 422, "unknown_field"),
    "unknown query field": (f"{CLASSIFY}?topk=3", {"data": JPEG}, 422, "unknown_field"),
    "top_k 0": (CLASSIFY, form(file=file(), top_k="0"), 422, "invalid_request"),
    "top_k 11": (f"{CLASSIFY}?top_k=11", {"data": JPEG}, 422, "invalid_request"),
    "top_k abc": (CLASSIFY, form(file=file(), top_k="abc"), 422, "invalid_request"),
    "wait -1": (f"{CLASSIFY}?wait=-1", {"data": JPEG}, 422, "invalid_request"),
    "wait nan": (f"{CLASSIFY}?wait=nan", {"data": JPEG}, 422, "invalid_request"),
    "job of nothing": (JOBS, form(top_k="3"), 422, "no_files"),
    "job with files as text": (JOBS, form(files="cat"), 422, "invalid_request"),
    "job with an unknown field": (JOBS, form(files=file(), color="red"), 422, "unknown_field"),
    "job in no lane": (JOBS, form(files=file(), lane="fast"), 422, "invalid_request"),
    "custom_id too few": (
        JOBS,
        form(files=[file(), file()], custom_id="1"),
        422,
        "invalid_request",
    ),
    "too many files": (JOBS, form(files=[file() for _ in range(501)]), 413, "too_many_files"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_refused_with_its_own_code(
    client: FlaskClient, redis: Redis, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    path, request, status, code = REFUSALS[case]
    response = client.post(path, **request)

    assert (response.status_code, response.json["code"]) == (status, code)
    assert response.content_type == "application/problem+json"
    assert response.json["status"] == status and response.json["title"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not redis.exists(*(f"outstanding:{lane}" for lane in Lane))


@pytest.mark.parametrize("content_type", [None, "image/jpeg", "application/json"])
def test_a_request_without_a_body_hears_how_to_send_a_picture(
    client: FlaskClient, content_type: str | None
) -> None:
    problem = client.post(CLASSIFY, content_type=content_type).json
    assert problem["detail"] == (
        "The request has no picture. Send it as the body, or in the field `file` of a form"
        " (multipart/form-data)."
    )


def test_a_picture_without_line_ends_came_from_curl_d(client: FlaskClient) -> None:
    """`curl -d @picture.jpg` removes them. The picture would only seem to be damaged."""
    kind = {"content_type": "application/x-www-form-urlencoded"}
    whole = (JPEG + bytes(range(256)) * 20).replace(b"\n", b"\r")
    assert client.post(f"{CLASSIFY}?wait=0", data=whole, **kind).status_code == 202
    without = whole.replace(b"\r", b"")
    problem = client.post(CLASSIFY, data=without, **kind).json
    assert problem["code"] == "invalid_request" and "--data-binary" in problem["detail"]
    assert client.post(f"{CLASSIFY}?wait=0", data=without).status_code == 202


@pytest.mark.parametrize("path", ["/jobs/nothing", "/api/v1/jobs/nothing", "/jobs/nothing/results"])
def test_an_unknown_job_is_404_and_never_a_state(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json["code"]) == (404, "job_not_found")


def test_an_unknown_path_and_a_wrong_method_are_problems_too(client: FlaskClient) -> None:
    response = client.post("/classify", data=JPEG)
    assert response.json["code"] == "not_found"
    assert "/docs lists all calls" in response.json["detail"]
    response = client.put("/jobs")
    assert response.json["code"] == "method_not_allowed"
    assert response.json["detail"] == "This address does not take PUT. Use GET or POST."
    assert "POST" in response.headers["Allow"]


def test_classify_answers_202_when_the_wait_ends_first(client: FlaskClient) -> None:
    response = client.post("/api/v1/classify?wait=0.1", data=JPEG)
    assert response.status_code == 202
    job = client.get(response.headers["Location"]).json
    assert (job["state"], job["counts"]["queued"]) == ("queued", 1)
    assert response.json["id"] == job["id"]


def test_a_form_of_classify_bounds_the_wait(client: FlaskClient) -> None:
    response = client.post("/api/v1/classify", **form(file=file(JPEG), wait="0.1"))
    assert response.status_code == 202


def test_the_header_prefer_bounds_the_wait_too(client: FlaskClient) -> None:
    response = client.post("/api/v1/classify", data=JPEG, headers={"Prefer": "wait=0"})
    assert response.status_code == 202


def test_a_bad_file_is_an_item_with_an_error_and_the_others_wait_for_a_worker(
    client: FlaskClient,
) -> None:
    files = [file(), file(b"text", "notes.jpg"), file(b"", "empty.png")]
    data = {"files": files, "custom_id": ["a", "b", "c"]}
    response = client.post("/jobs", data=data)
    assert response.status_code == 202
    assert response.json["counts"] == {
        "total": 3,
        "received": 3,
        "queued": 1,
        "succeeded": 0,
        "failed": 2,
        "cancelled": 0,
        "cached": 0,
    }
    items = client.get(response.headers["Location"] + "/results").json["items"]
    assert [(item["name"], item["custom_id"], item["state"]) for item in items] == [
        ("cat.jpg", "a", "queued"),
        ("notes.jpg", "b", "failed"),
        ("empty.png", "c", "failed"),
    ]
    assert [item["error"] and item["error"]["code"] for item in items] == [
        None,
        "unsupported_format",
        "empty_file",
    ]


def test_one_picture_is_interactive_and_many_are_bulk(client: FlaskClient) -> None:
    assert client.post("/jobs", data={"files": file()}).json["lane"] == "interactive"
    assert client.post("/jobs", data={"files": [file(), file()]}).json["lane"] == "bulk"
    asked = {"files": file(), "lane": "bulk"}
    assert client.post("/jobs", data=asked).json["lane"] == "bulk"


def test_results_are_paged(client: FlaskClient) -> None:
    data = {"files": [file(b"text", f"{k}.jpg") for k in range(70)]}
    location = client.post("/jobs", data=data).headers["Location"]
    names, offset = [], 0
    while offset is not None:
        page = client.get(f"{location}/results?offset={offset}&limit=33").json
        names += [item["name"] for item in page["items"]]
        offset = page["next_offset"]
    assert names == [f"{k}.jpg" for k in range(70)]


def test_the_model_is_unknown_until_a_worker_announces_it(
    client: FlaskClient, redis: Redis
) -> None:
    response = client.get("/api/v1/model/info")
    assert (response.status_code, response.json["code"]) == (503, "model_not_ready")

    info = replace(new_model(), precision="p", notice="two classes only")
    unknown = {"engine": None, "precision": None}
    assert client.get("/readyz").json == {"status": "no model yet"} | unknown
    model_info.announce(redis, info)
    assert client.get("/readyz").json == {"status": "ok", "engine": "e", "precision": "p"}
    assert client.get("/api/v1/model/info").json == vars(info)
    assert client.get("/api/v1/health").json["model_version"] == "m-1"


@pytest.mark.parametrize("value", ["0", "abc"])
def test_a_refusal_names_the_field_as_it_was_sent(client: FlaskClient, value: str) -> None:
    requests = (
        (CLASSIFY, form(file=file(), top_k=value)),
        (f"{CLASSIFY}?top_k={value}", {"data": JPEG}),
        (f"{JOBS}?top_k={value}", form(files=file())),
    )
    for path, request in requests:
        assert client.post(path, **request).json["detail"].startswith("top_k: Input"), path


def test_probes_and_metrics_answer(client: FlaskClient) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    client.post("/jobs", data={"files": file(), "lane": "bulk"}).close()
    text = client.get("/metrics").text
    assert 'classifier_outstanding_images{lane="bulk"} 1.0' in text
    assert "classifier_http_request_duration_seconds_bucket" in text


@pytest.mark.parametrize(
    ("path", "field", "detail"),
    [
        (CLASSIFY, "image", "Send the picture in the field `file`; the form had `image`."),
        (JOBS, "file", "Send the pictures in the field `files`; the form had `file`."),
    ],
)
def test_a_form_without_its_picture_is_told_what_to_send(
    client: FlaskClient, path: str, field: str, detail: str
) -> None:
    assert client.post(path, **form(**{field: file()})).json["detail"] == detail


@pytest.mark.parametrize(("path", "field"), [(CLASSIFY, "file"), (JOBS, "files")])
def test_a_form_whose_picture_is_text_is_told_so(
    client: FlaskClient, path: str, field: str
) -> None:
    """`curl -F files=picture.jpg`, without the `@`, sends the name of the file."""
    for sent in ("picture.jpg", [file(), "other.jpg"]):
        answer = client.post(path, **form(**{field: sent}))
        assert answer.status_code == 422, "a picture would be left out without a word"
        told = f"The field `{field}` has text instead of a file."
        assert answer.json["detail"].startswith(told)


@pytest.mark.parametrize(
    ("field", "detail"),
    [
        ("top_k", "top_k: Input should be a whole number"),
        ("min_score", "min_score: Input should be a number"),
        ("embeddings", "embeddings: Input should be `true` or `false`"),
    ],
)
def test_an_option_of_the_wrong_kind_is_told_the_right_one(
    client: FlaskClient, field: str, detail: str
) -> None:
    assert client.post(JOBS, **form(files=file(), **{field: "abc"})).json["detail"] == detail


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_is_served_from_here(client: FlaskClient, path: str) -> None:
    page = client.get(path, follow_redirects=True)
    assert page.status_code == 200
    assert "http://" not in page.text and "https://" not in page.text


def test_the_openapi_document_names_every_call(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {
        "/api/v1/classify",
        "/api/v1/usage",
        "/api/v1/jobs",
        "/api/v1/jobs/{job_id}",
        "/api/v1/jobs/{job_id}/events",
        "/api/v1/jobs/{job_id}/items/{index}/thumbnail",
        "/api/v1/jobs/{job_id}/parts",
        "/api/v1/jobs/{job_id}/parts/{number}",
        "/api/v1/jobs/{job_id}/results",
        "/api/v1/jobs/{job_id}/webhook",
        "/api/v1/dead-letters",
        "/api/v1/dead-letters/{letter_id}/retry",
        "/api/v1/operator/dead-letters",
        "/api/v1/operator/dead-letters/{letter_id}",
        "/api/v1/operator/dead-letters/{letter_id}/retry",
        "/api/v1/operator/jobs",
        "/api/v1/operator/jobs/{job_id}",
        "/api/v1/operator/lanes",
        "/api/v1/operator/lanes/{lane}",
        "/api/v1/operator/lanes/{lane}/purge",
        "/api/v1/operator/workers",
        "/api/v1/model/info",
        "/api/v1/model/labels",
        "/api/v1/health",
        "/livez",
        "/readyz",
    }
    body = document["paths"]["/api/v1/classify"]["post"]["requestBody"]["content"]
    assert body.keys() == {"multipart/form-data", "application/octet-stream"}


def test_a_request_id_is_kept_only_if_it_is_harmless(client: FlaskClient) -> None:
    kept = client.get("/livez", headers={"X-Request-Id": "abc-1"})
    assert kept.headers["X-Request-Id"] == "abc-1"
    replaced = client.get("/livez", headers={"X-Request-Id": 'x" onload='})
    assert replaced.headers["X-Request-Id"].isalnum()

"""`/jobs…` and `/api/v1/jobs…` are the same calls."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI

from tests.monitoring.scrapes import value
from tests.support.bodies import JPEG


def submitted(client: FlaskClient, path: str) -> str:
    response = client.post(path, data={"files": (io.BytesIO(JPEG), "a.jpg")})
    assert response.status_code == 202
    assert response.headers["Location"] == f"/api/v1/jobs/{response.json['id']}"
    return str(response.json["id"])


def test_a_job_is_submitted_and_read_by_either_path(client: FlaskClient) -> None:
    for job_id in (submitted(client, "/jobs"), submitted(client, "/api/v1/jobs")):
        for rest in ("", "/results", "/parts", "/results?format=csv"):
            short, long = (client.get(f"{way}/{job_id}{rest}") for way in ("/jobs", "/api/v1/jobs"))
            assert (short.status_code, short.data) == (200, long.data), rest


@pytest.mark.parametrize("path", ["/jobs/", "/jobsx", "/jobs/a/nope", "/api/v1/jobs/", "/job"])
def test_other_paths_are_not_found(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json["code"]) == (404, "not_found")


def test_a_wrong_method_is_told_the_right_ones(client: FlaskClient) -> None:
    short, long = client.put("/jobs"), client.put("/api/v1/jobs")
    assert short.status_code == long.status_code == 405
    assert short.headers["Allow"] == long.headers["Allow"]


def test_the_same_key_is_the_same_request_on_either_path(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "key"}
    first, second = (
        client.post(path, json={"total": 3}, headers=headers) for path in ("/jobs", "/api/v1/jobs")
    )
    assert first.json["job"]["id"] == second.json["job"]["id"]


def test_metrics_have_one_route_and_logs_the_path_of_the_client(
    make_app: Callable[..., OpenAPI], capsys: pytest.CaptureFixture[str]
) -> None:
    client = make_app().test_client()

    def counted() -> float:
        text, name = client.get("/metrics").text, "classifier_http_requests_total"
        return value(text, name, route="/api/v1/jobs/<job_id>", status="404") or 0

    before = counted()
    for path in ("/jobs/a", "/api/v1/jobs/a"):
        client.get(path).close()
    assert counted() == before + 2
    lines = capsys.readouterr().out.splitlines()
    paths = [word for line in lines for word in line.split() if word.startswith("url.path=")]
    assert paths == ["url.path=/jobs/a", "url.path=/api/v1/jobs/a"]
    assert 'route="/jobs' not in client.get("/metrics").text

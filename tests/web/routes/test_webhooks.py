"""A webhook is accepted if webhooks are enabled, and carries the job as `GET /jobs/<id>` does."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse

from shared import keys
from shared.records.job_records import JobRecords
from tests.support.bodies import JPEG
from tests.web.intake.archive_files import zipped
from workers.webhooks.event import event

URL = "https://example.com/hook?token=secret"


def form(client: FlaskClient, url: str, query: str = "") -> TestResponse:
    fields = {"files": FileStorage(io.BytesIO(JPEG), "a.jpg"), "webhook": url}
    return client.post(f"/jobs{query}", data=fields, content_type="multipart/form-data")


def archive(client: FlaskClient, url: str) -> TestResponse:
    return client.post(
        "/jobs",
        query_string={"webhook": url},
        data=zipped([("a", JPEG)]),
        content_type="application/zip",
    )


def opened(client: FlaskClient, url: str) -> TestResponse:
    return client.post("/jobs", json={"total": 1, "webhook": url})


Submit = Callable[[FlaskClient, str], TestResponse]
EVERY_WAY: list[Submit] = [form, archive, opened]


@pytest.fixture
def enabled(make_app: Callable[..., OpenAPI]) -> FlaskClient:
    return make_app(webhooks=True).test_client()


@pytest.mark.parametrize("submit", EVERY_WAY)
def test_a_webhook_is_refused_where_webhooks_are_off(
    client: FlaskClient, redis: Redis, submit: Submit
) -> None:
    answer = submit(client, URL)
    assert (answer.status_code, answer.json["code"]) == (422, "webhooks_disabled")
    assert not redis.keys("job:*")


@pytest.mark.parametrize("submit", EVERY_WAY)
@pytest.mark.parametrize("url", ["ftp://a.com/", "http://127.0.0.1/", "http://[::1]/", "nothing"])
def test_an_address_that_cannot_be_called_is_refused_at_once(
    enabled: FlaskClient, redis: Redis, submit: Submit, url: str
) -> None:
    answer = submit(enabled, url)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_webhook")
    assert not redis.keys("job:*")


@pytest.mark.parametrize("submit", EVERY_WAY)
def test_a_webhook_is_stored_with_the_job_and_no_answer_shows_it(
    enabled: FlaskClient, jobs: JobRecords, submit: Submit
) -> None:
    answer = submit(enabled, URL)
    assert answer.status_code in (201, 202), answer.text
    job = answer.json.get("job", answer.json)
    assert jobs.reader.get(job["id"]).webhook == URL
    assert "secret" not in answer.text


def test_the_refusal_names_the_setting(client: FlaskClient, enabled: FlaskClient) -> None:
    assert "WEBHOOKS=true" in form(client, URL).json["detail"]
    assert "WEBHOOK_ALLOW_PRIVATE=true" in form(enabled, "http://10.0.0.1/").json["detail"]


def test_a_webhook_waits_for_the_end_of_its_job_and_is_pending_then(enabled: FlaskClient) -> None:
    job_id = form(enabled, URL).json["id"]
    waiting = enabled.get(f"/jobs/{job_id}/webhook")
    assert waiting.json == {"state": "waiting", "tries": 0, "last_try": None, "next_try_at": None}
    assert "secret" not in waiting.text
    finished_at = enabled.delete(f"/jobs/{job_id}").json["finished_at"]
    pending = enabled.get(f"/jobs/{job_id}/webhook").json
    assert (pending["state"], pending["next_try_at"]) == ("pending", finished_at)


def test_a_job_without_a_webhook_has_no_delivery(client: FlaskClient) -> None:
    job_id = client.post("/jobs", json={"total": 1}).json["job"]["id"]
    answer = client.get(f"/jobs/{job_id}/webhook")
    assert (answer.status_code, answer.json["code"]) == (404, "no_webhook")
    assert client.get("/jobs/nothing/webhook").json["code"] == "job_not_found"


def test_two_different_addresses_are_refused(enabled: FlaskClient) -> None:
    assert form(enabled, URL, "?webhook=https://example.org/").json["code"] == "invalid_request"


def test_a_private_address_is_accepted_where_that_is_allowed(
    make_app: Callable[..., OpenAPI],
) -> None:
    client = make_app(webhooks=True, webhook_allow_private=True).test_client()
    assert form(client, "http://127.0.0.1:8080/").status_code == 202


def test_it_carries_the_job_as_it_is_answered(enabled: FlaskClient, jobs: JobRecords) -> None:
    job_id = form(enabled, URL).json["id"]
    answered: dict[str, Any] = enabled.delete(f"/jobs/{job_id}").json
    body = json.loads(event(jobs.reader.get(job_id)).body)
    assert body["type"] == "job.cancelled"
    assert body["data"] == answered


def test_a_cancelled_job_is_noted(enabled: FlaskClient, redis: Redis) -> None:
    job_id = form(enabled, URL).json["id"]
    enabled.delete(f"/jobs/{job_id}")
    assert redis.zrange(keys.WEBHOOKS_DUE, 0, -1) == [job_id.encode()]

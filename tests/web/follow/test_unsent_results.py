"""What a client does not read of its results counts, so that it cannot take all memory of web."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.test import TestResponse

from shared.records.job_records import JobRecords
from shared.records.read import JobReader
from tests.web.follow.stored_jobs import finished

MEGABYTE = 2**20


def ask(client: FlaskClient, job_id: str, form: str, address: str = "192.0.2.1") -> TestResponse:
    return client.get(
        f"/jobs/{job_id}/results?format={form}", environ_base={"REMOTE_ADDR": address}
    )


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_client_may_leave_a_share_unread(
    make_app: Callable[..., OpenAPI], jobs: JobRecords, redis: Redis, form: str
) -> None:
    client = make_app(max_body_memory_bytes=4 * MEGABYTE).test_client()
    job_id = finished(jobs, redis, 3)
    unread = [ask(client, job_id, form) for _ in range(2)]
    refused = ask(client, job_id, form)
    assert (refused.status_code, refused.json["code"]) == (503, "overloaded")
    assert refused.headers["Retry-After"]
    assert ask(client, job_id, form, "192.0.2.2").status_code == 200
    unread.pop().close()
    assert ask(client, job_id, form).status_code == 200


def test_a_page_counts_with_its_length_until_it_is_sent(
    make_app: Callable[..., OpenAPI], jobs: JobRecords, redis: Redis
) -> None:
    client = make_app(max_body_memory_bytes=2_000).test_client()
    job_id = finished(jobs, redis, 3)
    unread = ask(client, job_id, "json")
    assert unread.status_code == 200 and int(unread.headers["Content-Length"]) > 1_000
    assert ask(client, job_id, "json").status_code == 503
    unread.close()
    assert ask(client, job_id, "json").status_code == 200


def test_a_page_that_is_refused_is_not_read(
    make_app: Callable[..., OpenAPI],
    jobs: JobRecords,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = make_app(max_body_memory_bytes=2_000).test_client()
    job_id = finished(jobs, redis, 3)
    unread = ask(client, job_id, "json")
    monkeypatch.setattr(JobReader, "items", lambda *_: pytest.fail("it was read"))
    assert ask(client, job_id, "json").status_code == 503
    unread.close()


def test_the_answer_to_an_opened_job_counts_until_it_is_sent(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    """It names each picture that needs no upload. One job may be asked for again and again."""
    client = make_app(max_body_memory_bytes=35_000).test_client()
    opened = {"total": 500, "digests": [64 * "a"] * 500}

    def ask_again(address: str = "192.0.2.1") -> TestResponse:
        environ = {"REMOTE_ADDR": address}
        headers = {"Idempotency-Key": "again"}
        return client.post("/jobs", json=opened, headers=headers, environ_base=environ)

    unread = [ask_again() for _ in range(5)]
    assert {each.status_code for each in unread} == {201}
    refused = ask_again()
    assert (refused.status_code, refused.json["code"]) == (503, "overloaded")
    for each in unread:
        each.close()
    assert ask_again().status_code == 201
    assert len(redis.keys("job:*")) == 1

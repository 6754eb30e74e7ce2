"""`GET /jobs/<id>/items/<index>/thumbnail`, with a thumbnail that a worker has kept."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis

from shared.thumbnails import Thumbnails
from tests.support.bodies import JPEG
from tests.web.submit.open_jobs.new_jobs import code, digest, learn, open_job, picture, put

SMALL = JPEG + b" small"


@pytest.fixture(autouse=True)
def kept(redis: Redis) -> None:
    pipe = redis.pipeline()
    Thumbnails(redis, ttl_seconds=60).put(pipe, {digest(1): SMALL})
    pipe.execute()


def filled(client: FlaskClient, **fields: Any) -> str:
    """An open job with two pictures."""
    job = open_job(client, total=2, **fields)["job"]
    put(client, job["id"], 0, range(2))
    return str(job["id"])


def test_the_owner_of_a_job_reads_its_thumbnails(client: FlaskClient) -> None:
    job_id = filled(client, thumbnails=True)
    answer = client.get(f"/jobs/{job_id}/items/1/thumbnail")
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "image/jpeg", SMALL)
    assert "private" in answer.headers["Cache-Control"]
    as_bytes = {"Accept": "application/octet-stream"}
    answer = client.get(f"/jobs/{job_id}/items/1/thumbnail", headers=as_bytes)
    assert (answer.mimetype, answer.data) == ("application/octet-stream", SMALL)


@pytest.mark.parametrize("index", [0, 2, 40])
def test_a_picture_without_a_thumbnail_is_not_found(client: FlaskClient, index: int) -> None:
    job_id = filled(client, thumbnails=True)
    answer = client.get(f"/jobs/{job_id}/items/{index}/thumbnail")
    assert code(answer) == (404, "thumbnail_not_found")


def test_a_job_that_has_not_asked_has_none(client: FlaskClient) -> None:
    answer = client.get(f"/jobs/{filled(client)}/items/1/thumbnail")
    assert code(answer) == (404, "thumbnail_not_found")


def test_an_unknown_job_is_not_found(client: FlaskClient) -> None:
    assert code(client.get("/jobs/none/items/1/thumbnail")) == (404, "job_not_found")


def test_an_operator_may_have_thumbnails_off(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(thumbnails=False).test_client()
    assert open_job(client, total=2, thumbnails=True)["job"]["thumbnails"] is False


@pytest.mark.parametrize("asked", [False, True])
def test_a_form_and_an_archive_ask_in_the_address(client: FlaskClient, asked: bool) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("1.jpg", picture(1))
    query = "?thumbnails=true" if asked else ""
    as_form = client.post(f"/jobs{query}", data={"files": [(io.BytesIO(picture(1)), "1.jpg")]})
    as_body = client.post(f"/jobs{query}", data=archive.getvalue(), content_type="application/zip")
    for answer in (as_form, as_body):
        assert answer.json["thumbnails"] is asked
        small = client.get(f"/jobs/{answer.json['id']}/items/0/thumbnail")
        assert small.status_code == (200 if asked else 404)


def test_a_cached_picture_without_a_thumbnail_is_seen_by_a_worker(
    client: FlaskClient, redis: Redis
) -> None:
    learn(redis, 0, 1)  # only picture 1 has a thumbnail
    for asked, cached in ((False, 2), (True, 1)):
        counts = client.get(f"/jobs/{filled(client, thumbnails=asked)}").json["counts"]
        assert (counts["cached"], counts["queued"]) == (cached, 2 - cached)


def test_a_picture_of_which_only_the_digest_came_is_answered_without_a_thumbnail(
    client: FlaskClient, redis: Redis
) -> None:
    learn(redis, 0, 1)
    job = open_job(client, total=2, thumbnails=True)["job"]
    items = [{"name": f"{k}.jpg", "digest": digest(k)} for k in range(2)]
    assert put(client, job["id"], 0, [], items).status_code == 201
    assert client.get(f"/jobs/{job['id']}").json["state"] == "completed"

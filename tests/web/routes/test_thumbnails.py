"""`GET /jobs/<id>/items/<index>/thumbnail`, with a thumbnail that a worker has kept."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis

from shared import keys
from shared.jobs import Lane, PartRef
from shared.records.job_records import JobRecords
from shared.thumbnails import Thumbnails
from tests.support.bodies import JPEG
from tests.web.submit.open_jobs.new_jobs import KNOWN, code, digest, learn, open_job, picture, put
from web.http import api_keys

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
    sent = {"files": [(io.BytesIO(picture(1)), "1.jpg")]}
    assert client.post("/jobs?thumbnails=true", data=sent).json["thumbnails"] is False


def test_a_form_asks_in_a_field(client: FlaskClient) -> None:
    form = {"files": [(io.BytesIO(picture(1)), "1.jpg")], "thumbnails": "true"}
    assert client.post("/jobs", data=form).json["thumbnails"] is True


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
    assert code(client.get(f"/jobs/{job['id']}/items/1/thumbnail")) == (404, "thumbnail_not_found")


def test_the_digest_of_a_picture_of_another_key_gives_no_thumbnail(
    make_app: Callable[..., OpenAPI], redis: Redis, tmp_path: Path
) -> None:
    learn(redis, 0, 1)
    (tmp_path / "keys").write_text("".join(f"{api_keys.line(n, n)}\n" for n in "ab"))
    client = make_app(api_keys_file=tmp_path / "keys").test_client()
    read = {}
    for name in "ab":
        client.environ_base["HTTP_X_API_KEY"] = name
        job = open_job(client, total=1, thumbnails=True)["job"]
        items = [{"name": "1.jpg", "digest": digest(1)}]
        sent = (
            put(client, job["id"], 0, [1]) if name == "a" else put(client, job["id"], 0, [], items)
        )
        assert sent.status_code == 201
        again = put(client, job["id"], 0, [1])  # changes nothing
        assert again.status_code == 200
        read[name] = client.get(f"/jobs/{job['id']}/items/0/thumbnail").status_code
    assert read == {"a": 200, "b": 404}


def test_a_part_of_an_earlier_release_shows_what_a_worker_has_seen(
    client: FlaskClient, redis: Redis, jobs: JobRecords
) -> None:
    """That release did not say whether the pictures that its cache answered had been sent."""
    seen = filled(client, thumbnails=True)
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, PartRef(seen, 0, 2), Lane.BULK, dict.fromkeys(range(2), KNOWN))
    pipe.execute()
    learn(redis, 1)
    answered = filled(client, thumbnails=True)
    for job_id, status in ((seen, 200), (answered, 404)):
        part = keys.part(job_id, 0)
        spec = json.loads(redis.hget(part, "spec") or b"")
        spec.pop("sent", None)
        redis.hset(part, "spec", json.dumps(spec))
        assert client.get(f"/jobs/{job_id}/items/1/thumbnail").status_code == status

"""An archive is a job like any other: one item for each file in it, all of it or nothing."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.datastructures import FileStorage

from shared import keys
from tests.support.bodies import JPEG
from tests.web.intake.archive_files import Make, tar_gz, tarred, zipped
from tests.web.submit.archives.archive_posts import (
    items,
    left_over,
    pictures,
    post_form,
    post_raw,
    post_with_key,
)
from web.submit import archive_jobs

TYPES = {zipped: "application/zip", tarred: "application/x-tar", tar_gz: "application/gzip"}


@pytest.mark.parametrize("make", TYPES)
@pytest.mark.parametrize("raw", [False, True], ids=["form", "body"])
def test_an_archive_is_a_job_with_an_item_for_each_picture(
    client: FlaskClient, redis: Redis, make: Make, raw: bool
) -> None:
    data = make(pictures(70))
    if raw:
        answer = client.post("/jobs?top_k=3", data=data, content_type=TYPES[make])
    else:
        answer = post_form(client, data, top_k=3)
    assert answer.status_code == 202, answer.text
    job = answer.json
    assert answer.headers["Location"].endswith(job["id"])
    assert (job["state"], job["lane"], job["top_k"]) == ("queued", "bulk", 3)
    assert (job["counts"]["total"], job["counts"]["queued"]) == (70, 70)
    assert [each["name"] for each in items(client, job["id"])] == [n for n, _ in pictures(70)]
    # The bytes that wait for a worker are those of the archive, part by part.
    refs = [f"{job['id']}:{number}" for number in range(3)]
    stored = [redis.hgetall(f"images:{ref}") for ref in refs]
    waiting = [part[b"%d" % k] for part in stored for k in range(len(part))]
    assert waiting == [data for _, data in pictures(70)]


def test_members_that_are_no_pictures_take_no_disk(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 KB in an archive may be 20 MB of zeros."""
    written: list[bytes] = []

    class Spool(io.BytesIO):
        def write(self, data: Any) -> int:
            written.append(data)
            return super().write(data)

    monkeypatch.setattr(archive_jobs.tempfile, "TemporaryFile", Spool)
    data = zipped([("a.jpg", bytes(10_000)), ("b.jpg", JPEG), ("c.jpg", bytes(10_000))])
    job = post_form(client, data).json
    states = [each["state"] for each in items(client, job["id"])]
    assert (states, written) == (["failed", "queued", "failed"], [JPEG])


def test_a_member_that_cannot_be_used_is_an_item_with_an_error(client: FlaskClient) -> None:
    data = zipped(
        [
            *[("a.jpg", JPEG), ("../b.jpg", JPEG), ("notes", b"hello"), ("c.jpg", b"")],
            *[("d.jpg", JPEG + bytes(300_000)), ("e.zip", zipped([("x", b"x")]))],
            ("__MACOSX/._a.jpg", b"x"),
        ]
    )
    job = post_raw(client, data).json
    codes = [(each["name"], (each["error"] or {}).get("code")) for each in items(client, job["id"])]
    assert codes == [
        ("a.jpg", None),
        ("../b.jpg", "unsafe_path"),
        ("notes", "unsupported_format"),
        ("c.jpg", "empty_file"),
        ("d.jpg", "image_too_large"),
        ("e.zip", "nested_archive"),
    ]
    assert (job["counts"]["queued"], job["counts"]["failed"]) == (1, 5)
    assert job["skipped"] == {}


def test_files_of_other_kinds_are_skipped_and_counted_by_ending(client: FlaskClient) -> None:
    names = ["a.jpg", "phone/film.MP4", "notes.txt", "phone/More.TXT", "b.HEIC", "no ending"]
    system = ["__MACOSX/._a.jpg", "._b.txt", ".DS_Store", "phone/Thumbs.db", "desktop.ini"]
    for pack, kind in ((zipped, "zip"), (tar_gz, "gzip")):
        job = post_raw(client, pack([(name, JPEG) for name in names + system]), kind=kind).json
        assert job["skipped"] == {".mp4": 1, ".txt": 2}
        assert client.get(f"/jobs/{job['id']}").json["skipped"] == job["skipped"]
        assert [each["name"] for each in items(client, job["id"])] == [
            "a.jpg",
            "b.HEIC",
            "no ending",
        ]


def test_of_many_endings_only_the_most_frequent_are_counted_apart(client: FlaskClient) -> None:
    names = ["a.jpg", "b.txt", "c.txt"] + [f"{k}.e{k}" for k in range(60)]
    job = post_raw(client, zipped([(name, JPEG) for name in names])).json
    assert len(job["skipped"]) == 51 and sum(job["skipped"].values()) == 62
    assert (job["skipped"][".txt"], job["skipped"]["others"]) == (2, 11)


def test_an_archive_without_pictures_is_refused_with_what_it_holds(client: FlaskClient) -> None:
    files = [("a.txt", b"x"), ("b.mp4", b"x"), ("c.mp4", b"x")]
    answer = post_raw(client, zipped(files))
    assert (answer.status_code, answer.json["code"]) == (422, "no_files")
    assert answer.json["detail"] == (
        "The archive holds no pictures; its files are skipped by their names: 2 .mp4, 1 .txt."
    )


def test_a_job_of_an_older_release_has_skipped_nothing(client: FlaskClient, redis: Redis) -> None:
    job = post_raw(client, zipped([("a.jpg", JPEG), ("a.txt", b"x")])).json
    redis.hdel(f"job:{job['id']}", "skipped")
    assert client.get(f"/jobs/{job['id']}").json["skipped"] == {}


def test_harmful_characters_of_a_name_are_replaced_and_others_stay(client: FlaskClient) -> None:
    names = ["10.30\u202fAM.png", "a\r\n\x1b[2J" + "é" * 500]
    job = post_raw(client, tarred([(name, JPEG) for name in names]), kind="x-tar").json
    received = [item["name"] for item in items(client, job["id"])]
    assert received == [names[0], "a\ufffd\ufffd\ufffd[2J" + "é" * 500]


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "cut off": (zipped(pictures(5))[:-30], 422, "bad_archive"),
    "cut off tar.gz": (tar_gz(pictures(5))[:-30], 422, "bad_archive"),
    "of nothing": (zipped([]), 422, "no_files"),
    "of folders": (zipped([("a/", b""), ("__MACOSX/._a", b"x")]), 422, "no_files"),
    "no archive": (b"hello", 422, "bad_archive"),
    "a picture": (JPEG, 422, "bad_archive"),
    "nothing": (b"", 422, "bad_archive"),
    "a bomb": (tar_gz([("a", bytes(80_000_000))]), 413, "archive_too_large"),
    "too many": (zipped([(f"{k}", b"") for k in range(201)]), 413, "archive_too_large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_archive_is_refused_whole_and_nothing_is_kept(
    make_app: Callable[..., OpenAPI], redis: Redis, case: str
) -> None:
    client = make_app(max_archive_members=200).test_client()
    data, status, code = REFUSED[case]
    answer = post_raw(client, data, kind="gzip")
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert not redis.keys("job:*") and not left_over(redis)


@pytest.mark.parametrize("query", ["top_k=11", "lane=fast", "webhook=http://example.com/", "a=b"])
def test_options_of_an_archive_are_checked(client: FlaskClient, query: str) -> None:
    answer = post_raw(client, zipped(pictures(1)), query)
    assert answer.status_code == 422 and answer.json["code"] != "bad_archive"


def test_custom_ids_are_refused_with_an_archive(client: FlaskClient) -> None:
    answer = post_form(client, zipped(pictures(1)), custom_id="mine")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")


def test_the_lane_may_be_named(client: FlaskClient) -> None:
    assert post_raw(client, zipped(pictures(1)), "lane=interactive").json["lane"] == "interactive"


def test_an_archive_may_be_larger_than_any_other_body_and_nothing_else_may(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    client = make_app(max_request_bytes=100_000, max_archive_bytes=300_000).test_client()
    noise = [(f"{k}.jpg", JPEG + os.urandom(70_000)) for k in range(5)]
    for post in (post_form, post_raw):
        assert post(client, zipped(noise[:4])).status_code == 202
        answer = post(client, zipped(noise))
        assert (answer.status_code, answer.json["code"]) == (413, "request_too_large")
        assert "MAX_ARCHIVE_BYTES" in answer.json["detail"]
    redis.flushall()
    # A form that is not one archive: by its first bytes, and by its second file.
    too_large = [JPEG + bytes(150_000), b"\x1f\x8b\x08" + bytes(150_000)]
    codes = [post_form(client, data).json["code"] for data in too_large]
    assert codes == ["request_too_large", "bad_archive"]
    archive = zipped(noise[:2])
    files = [FileStorage(io.BytesIO(data), "a") for data in (archive, archive)]
    answer = client.post("/jobs", data={"files": files}, content_type="multipart/form-data")
    assert (answer.status_code, answer.json["code"]) == (413, "request_too_large")
    assert "97.6 KB (MAX_REQUEST_BYTES) may have one file" in answer.json["detail"]
    assert not redis.keys("job:*")


def test_the_same_key_and_archive_are_the_same_job(client: FlaskClient) -> None:
    post = partial(post_with_key, client)
    first, again = post(zipped(pictures(40))), post(zipped(pictures(40)))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json["id"] == again.json["id"]
    for other in (post(zipped(pictures(41))), post(zipped(pictures(40)), "top_k=3")):
        assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")


def test_an_archive_that_was_left_half_stored_is_continued(
    client: FlaskClient, redis: Redis
) -> None:
    """Its web process died, and the client sends it again with the same key."""
    archive = zipped(pictures(70))
    job_id = post_with_key(client, archive).json["id"]
    # As if the second of its three parts had never come.
    redis.setbit(keys.parts(job_id), 1, 0)
    redis.hset(keys.job(job_id), mapping={"state": "receiving", "received": 38})
    redis.delete(keys.part(job_id, 1), keys.images(job_id, 1))
    again = post_with_key(client, archive)
    assert (again.status_code, again.json["id"]) == (202, job_id)
    assert (again.json["state"], again.json["counts"]["received"]) == ("queued", 70)


def test_after_a_failure_the_same_key_makes_another_job_and_no_webhook_is_sent(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    archive, query = zipped(pictures(64)), "webhook=https://example.com/"
    full = make_app(max_outstanding_bulk=40, max_wait_seconds=0, webhooks=True).test_client()
    assert post_with_key(full, archive, query).json["code"] == "overloaded"
    [failed] = redis.keys("job:*")
    assert not redis.exists(keys.WEBHOOKS_DUE)
    again = post_with_key(make_app(webhooks=True).test_client(), archive, query)
    assert again.status_code == 202 and keys.job(again.json["id"]) != failed.decode()

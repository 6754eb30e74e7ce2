"""Parts whose body is no form: a line of entries, then the bytes of all pictures."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Sequence
from typing import IO, Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.test import TestResponse

from shared import keys
from tests.support.bodies import JPEG
from tests.web.submit.open_jobs.new_jobs import code, digest, learn, open_id, picture, put
from web.intake import raw_part
from web.routes.job import parts
from web.schemas.job import RAW_PART
from web.submit import bodies

Entries = list[dict[str, Any]]

CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


def line(entries: object) -> bytes:
    return json.dumps(entries).encode() + b"\n"


def sized(pictures: Sequence[bytes]) -> Entries:
    return [{"name": f"{k}.jpg", "size": len(data)} for k, data in enumerate(pictures)]


def send(client: FlaskClient, job_id: str, body: bytes, **more: Any) -> TestResponse:
    return client.put(f"/jobs/{job_id}/parts/0", data=body, content_type=RAW_PART, **more)


def send_pictures(client: FlaskClient, job_id: str, pictures: Sequence[bytes]) -> TestResponse:
    return send(client, job_id, line(sized(pictures)) + b"".join(pictures))


def send_in_chunks(client: FlaskClient, job_id: str, body: bytes) -> TestResponse:
    environ = {**CHUNKED, "wsgi.input": io.BytesIO(body)}
    return send(client, job_id, b"", environ_overrides=environ)


def stored(redis: Redis, job_id: str) -> list[bytes]:
    """The pictures that wait for a worker, in order."""
    images = redis.hgetall(keys.images(job_id, 0))
    return [images[position] for position in sorted(images, key=int)]


def codes(client: FlaskClient, job_id: str) -> list[str | None]:
    items = client.get(f"/jobs/{job_id}/results").json["items"]
    return [item["error"] and item["error"]["code"] for item in items]


def nothing_arrived(client: FlaskClient, redis: Redis, job_id: str) -> bool:
    missing: list[int] = client.get(f"/jobs/{job_id}/parts").json["missing"]
    return missing == [0] and not redis.keys("images:*") and not redis.keys("staged*")


def test_the_bytes_of_each_picture_are_stored(client: FlaskClient, redis: Redis) -> None:
    pictures = [JPEG + bytes([k]) * (k * 9_001) for k in range(32)]
    job_id = open_id(client, 32)
    answer = send_pictures(client, job_id, pictures)
    part = {"job_id": job_id, "number": 0, "items": 32, "missing_parts": 0}
    assert (answer.status_code, answer.json) == (201, part)
    assert stored(redis, job_id) == pictures
    names = [each["name"] for each in client.get(f"/jobs/{job_id}/results").json["items"]]
    assert names == [f"{k}.jpg" for k in range(32)]


def test_a_part_may_be_sent_again_in_either_way(client: FlaskClient) -> None:
    pictures = [picture(k) for k in range(3)]
    first, second = open_id(client, 3), open_id(client, 3)
    assert send_pictures(client, first, pictures).status_code == 201
    assert send_pictures(client, first, pictures).status_code == 200
    assert put(client, first, 0, range(3)).status_code == 200
    assert put(client, second, 0, range(3)).status_code == 201
    assert send_pictures(client, second, pictures).status_code == 200
    assert code(send_pictures(client, second, pictures[::-1])) == (409, "part_conflict")


def test_entries_have_names_and_digests_of_cached_pictures(
    client: FlaskClient, redis: Redis
) -> None:
    learn(redis, 1)
    job_id = open_id(client, 3)
    entries = [
        {"name": "a/ä\n.jpg", "custom_id": "one", "size": len(picture(0))},
        {"name": "\ud83d", "digest": digest(1)},
        {"name": "", "size": len(picture(2))},
    ]
    assert send(client, job_id, line(entries) + picture(0) + picture(2)).status_code == 201
    items = client.get(f"/jobs/{job_id}/results").json["items"]
    assert [(each["name"], each["custom_id"], each["cache_hit"]) for each in items] == [
        ("a/ä\ufffd.jpg", "one", False),
        ("\ufffd", None, True),
        ("", None, False),
    ]
    assert stored(redis, job_id) == [picture(0), picture(2)]
    refused = send(client, open_id(client, 1), line([{"name": "", "digest": digest(5)}]))
    assert code(refused) == (409, "images_needed") and refused.json["indexes"] == [0]


def test_what_is_no_picture_is_an_item_and_its_neighbours_are_stored(
    client: FlaskClient, redis: Redis
) -> None:
    large = JPEG + bytes(300_001)
    pictures = [picture(0), large, b"", b"text", picture(4)]
    job_id = open_id(client, 5)
    assert send_pictures(client, job_id, pictures).status_code == 201
    assert codes(client, job_id) == [
        *(None, "image_too_large", "empty_file", "unsupported_format", None)
    ]
    assert stored(redis, job_id) == [picture(0), picture(4)]
    assert send_pictures(client, job_id, pictures).status_code == 200  # it has the same digests


def test_large_pictures_of_a_large_part_are_on_disk_until_they_are_stored(
    client: FlaskClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list[IO[bytes]]()

    def make() -> IO[bytes]:
        files.append(real())
        return files[-1]

    real = tempfile.TemporaryFile
    monkeypatch.setattr(raw_part.tempfile, "TemporaryFile", make)
    for module in (bodies, parts):
        monkeypatch.setattr(module, "SPOOLED_BYTES", 1000)
    pictures = [JPEG.ljust(size, b"x") for size in (1000, 1001, 200_000)]
    job_id = open_id(client, 3)
    assert send_pictures(client, job_id, pictures).status_code == 201
    assert stored(redis, job_id) == pictures
    assert len(files) == 2 and all(file.closed for file in files)
    small = open_id(client, 3)
    assert send_pictures(client, small, [each[:10_000] for each in pictures]).status_code == 201
    assert len(files) == 2


def test_a_body_may_come_in_chunks(client: FlaskClient, redis: Redis) -> None:
    pictures = [picture(0), JPEG + bytes(100_000)]
    whole = line(sized(pictures)) + b"".join(pictures)
    job_id = open_id(client, 2)
    for wrong in (whole[:-1], whole + b"x", line(sized(pictures)), b""):
        assert code(send_in_chunks(client, job_id, wrong)) == (422, "invalid_request")
        assert nothing_arrived(client, redis, job_id)
    assert send_in_chunks(client, job_id, whole).status_code == 201
    assert stored(redis, job_id) == pictures


def test_sizes_must_add_up_to_the_length_of_the_body(client: FlaskClient, redis: Redis) -> None:
    job_id = open_id(client, 2)
    entries = sized([picture(0), picture(1)])
    for rest in (picture(0), 2 * picture(0) + b"x"):
        refused = send(client, job_id, line(entries) + rest)
        assert code(refused) == (422, "invalid_request")
        sizes = f"{2 * len(picture(0))} bytes, and {len(rest)} bytes follow"
        assert sizes in refused.json["detail"]
    assert nothing_arrived(client, redis, job_id)


def test_a_part_is_bounded_as_a_form_is(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_image_bytes=5_000).test_client()
    job_id = open_id(client, 32)
    large = line(sized([bytes(9_000)] * 32)) + bytes(32 * 9_000)
    assert code(send(client, job_id, large)) == (413, "request_too_large")
    assert code(send_in_chunks(client, job_id, large)) == (413, "request_too_large")


ONE = {"name": "a", "size": 5}
HOSTILE: dict[str, tuple[object, str]] = {
    "no body": (b"", "invalid_request"),
    "no line": (b"[" + 70_000 * b" ", "invalid_request"),
    "an endless line": (500_001 * b" " + b"\nhello", "invalid_request"),
    "no JSON": (b"{\nhello", "invalid_request"),
    "no text": (b"\xff\xfe\xfd\nhello", "invalid_request"),
    "nested lists": (100_000 * b"[" + b"\nhello", "invalid_request"),
    "no list": (ONE, "invalid_request"),
    "an entry that is none": ([5], "invalid_request"),
    "no name": ([{"size": 5}], "invalid_request"),
    "an unknown field": ([ONE | {"color": 1}], "unknown_field"),
    "many fields": ([ONE | {str(k): k for k in range(9_000)}], "unknown_field"),
    "no size": ([{"name": "a"}], "invalid_request"),
    "null as size": ([ONE | {"size": None}], "invalid_request"),
    "size and digest": ([ONE | {"digest": digest(0)}], "invalid_request"),
    "a negative size": ([ONE | {"size": -5}], "invalid_request"),
    "a huge size": ([ONE | {"size": 2**63}], "invalid_request"),
    "a size of many digits": (b'[{"name":"","size":' + 9_000 * b"9" + b"}]\n", "invalid_request"),
    "a fraction as size": ([ONE | {"size": 5.0}], "invalid_request"),
    "a text as size": ([ONE | {"size": "5"}], "invalid_request"),
    "true as size": ([ONE | {"size": True}], "invalid_request"),
    "infinity as size": (b'[{"name":"","size":Infinity}]\nhello', "invalid_request"),
    "no entries": ([], "wrong_part_size"),
    "too many entries": ([ONE, ONE | {"size": 0}], "wrong_part_size"),
    "far too many entries": (b"[" + b"{}," * 150_000 + b"{}]\nhello", "invalid_request"),
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_wrong_first_line_is_refused_and_nothing_is_stored(
    client: FlaskClient, redis: Redis, case: str, chunked: bool
) -> None:
    what, expected = HOSTILE[case]
    body = what if isinstance(what, bytes) else line(what) + b"hello"
    job_id = open_id(client, 1)
    answer = (send_in_chunks if chunked else send)(client, job_id, body)
    assert code(answer) == (422, expected)
    assert len(answer.data) < 1500
    assert nothing_arrived(client, redis, job_id)


def test_of_a_line_without_end_only_so_much_is_read(client: FlaskClient) -> None:
    class Endless(io.RawIOBase):
        read_bytes = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.read_bytes += len(buffer)
            buffer[:] = len(buffer) * b" "
            return len(buffer)

    body = Endless()
    environ = {**CHUNKED, "wsgi.input": body}
    answer = send(client, open_id(client, 1), b"", environ_overrides=environ)
    assert code(answer) == (422, "invalid_request")
    assert body.read_bytes < 600_000


def test_a_picture_alone_is_refused_with_what_is_missing(client: FlaskClient) -> None:
    answer = send(client, open_id(client, 1), JPEG)
    assert code(answer) == (422, "invalid_request")
    assert "begins with a line of JSON that lists the items" in answer.json["detail"]


def test_a_body_of_another_type_is_refused(client: FlaskClient) -> None:
    """Clients of later releases send a form then."""
    job_id = open_id(client, 1)
    body = line(sized([JPEG])) + JPEG
    answer = client.put(f"/jobs/{job_id}/parts/0", data=body, content_type="application/x-later")
    assert code(answer) == (422, "no_files")

"""A form is read whatever the encoding of the names of its files."""

from __future__ import annotations

import time
from collections import Counter
from itertools import product
from typing import Any

import gevent
import pytest
from flask import request
from flask.testing import FlaskClient
from werkzeug.sansio.multipart import MultipartDecoder
from werkzeug.test import TestResponse

from tests.support.bodies import JPEG
from web.intake.forms import Boundary


def form(field: str, names: list[bytes]) -> bytes:
    head = b'--q\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n'
    parts = [head % (field.encode(), name) + b"\r\n" + JPEG + b"\r\n" for name in names]
    return b"".join([*parts, b"--q--\r\n"])


def post(client: FlaskClient, path: str, body: bytes, **more: Any) -> TestResponse:
    return client.post(path, data=body, content_type="multipart/form-data; boundary=q", **more)


@pytest.mark.parametrize(
    ("raw", "name"), [(b"m\xfcll.jpg", "m\ufffdll.jpg"), ("写真.jpg".encode(), "写真.jpg")]
)
def test_a_name_that_is_not_utf_8_is_replaced_and_the_form_is_accepted(
    client: FlaskClient, raw: bytes, name: str
) -> None:
    answer = post(client, "/jobs", form("files", [b"a.jpg", raw, b"b.jpg"]))
    assert answer.status_code == 202, answer.text
    items = client.get(f"/jobs/{answer.json['id']}/results").json["items"]
    assert [item["name"] for item in items] == ["a.jpg", name, "b.jpg"]


def test_a_single_picture_with_such_a_name_is_accepted(client: FlaskClient) -> None:
    answer = post(client, "/api/v1/classify?wait=0", form("file", [b"m\xfcll.jpg"]))
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("name", [b"a", 7000 * b"a"])
def test_others_run_while_the_heads_of_a_form_are_parsed(client: FlaskClient, name: bytes) -> None:
    """A hundred forms of 500 files held up a process for ten seconds."""
    rounds = 0

    def count() -> None:
        nonlocal rounds
        while True:
            gevent.sleep(1e-9)
            rounds += 1

    body = form("other", 200 * [name])
    other = gevent.spawn(count)
    try:
        assert post(client, "/jobs", body).status_code == 422
    finally:
        other.kill()
    assert rounds >= 10


@pytest.mark.parametrize("disposition", [b"form-data", b'form-data; filename="a.jpg"'])
@pytest.mark.parametrize("path", ["/jobs", "/api/v1/classify", "a part"])
def test_a_part_without_a_name_is_refused(
    client: FlaskClient, path: str, disposition: bytes
) -> None:
    parts = [disposition, b'form-data; name="other"']
    body = b"".join(b"--q\r\nContent-Disposition: %s\r\n\r\nx\r\n" % each for each in parts)
    if path == "a part":
        opened = client.post("/jobs", json={"total": 1}).json
        path = f"/jobs/{opened['job']['id']}/parts/0"
    send = client.put if "/parts/" in path else client.post
    answer = send(path, data=body + b"--q--\r\n", content_type="multipart/form-data; boundary=q")
    assert answer.status_code == 422, answer.text
    assert "``" not in answer.text and " name" in answer.json["detail"], answer.text


@pytest.mark.parametrize("path", ["/jobs", "/api/v1/classify"])
def test_the_head_of_a_part_has_a_limit(client: FlaskClient, path: str) -> None:
    """Its parameters are parsed at once: 480 KB of them held up a process for 150 ms."""
    head = b"--q\r\nContent-Disposition: form-data" + 5000 * b';a="' + b"\r\n\r\nx\r\n--q--\r\n"
    answer = post(client, path, head)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request"), answer.text
    assert "The head of a part" in answer.json["detail"]


def test_the_boundary_is_found_where_its_pattern_finds_it() -> None:
    """In every order of a few pieces: line ends, the boundary, its end, and other bytes."""
    pattern = MultipartDecoder(b"q").boundary_re
    boundary = Boundary(b"q")
    spans: Counter[int | None] = Counter()
    for pieces in product([b"", b"\r\n", b"\n", b"\r", b"--q", b"--", b"q", b" "], repeat=5):
        data = bytearray(b"".join(pieces))
        expected, actual = pattern.search(data), boundary.search(data)
        assert (expected and expected.span()) == (actual and (actual.start(), actual.end())), data
        assert (expected and expected[1]) == (actual and actual.group(1)), data
        spans[expected and expected.start()] += 1
    assert len(spans) > 5, "it matches at the start, later, and not at all"


def test_the_text_of_a_boundary_within_a_picture_costs_little() -> None:
    """werkzeug's pattern takes a millisecond for 64 KiB of line ends."""
    boundary, data = Boundary(b"q"), bytearray(b"--qq" + 2**22 * b"\r")
    began = time.process_time()
    assert boundary.search(data) is None
    assert time.process_time() - began < 0.03


@pytest.mark.parametrize("path", ["/jobs", "a part"])
def test_the_text_fields_of_a_form_have_a_limit_together(client: FlaskClient, path: str) -> None:
    """They stay in memory: 999 of them took 1.9 GB."""
    field = b'--q\r\nContent-Disposition: form-data; name="a"\r\n\r\n%s\r\n'
    body = 20 * (field % (30_000 * b"x"))
    if path == "a part":
        opened = client.post("/jobs", json={"total": 1}).json
        path = f"/jobs/{opened['job']['id']}/parts/0"
    send = client.put if "/parts/" in path else client.post
    answer = send(path, data=body + b"--q--\r\n", content_type="multipart/form-data; boundary=q")
    assert (answer.status_code, answer.json["code"]) == (413, "request_too_large"), answer.text
    assert "The text fields" in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "files", "status", "says"),
    [
        ("/api/v1/classify", 2, 422, "exactly one picture"),
        ("/api/v1/classify", 25, 422, "exactly one picture"),
        ("/jobs", 501, 413, "more than 500 files"),
        ("/jobs", 1100, 413, "more than 500 files"),
    ],
)
def test_the_refusal_of_too_many_files_names_the_limit(
    client: FlaskClient, path: str, files: int, status: int, says: str
) -> None:
    answer = post(client, path, form("files", files * [b"a.jpg"]))
    assert answer.status_code == status and says in answer.json["detail"], answer.text


@pytest.mark.parametrize(("path", "most"), [("/api/v1/classify", 20), ("/jobs", 1020)])
def test_the_refusal_of_too_many_fields_names_the_limit(
    client: FlaskClient, path: str, most: int
) -> None:
    field = b'--q\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    answer = post(client, path, (most + 1) * field + b"--q--\r\n")
    assert (answer.status_code, answer.json["code"]) == (413, "request_too_large"), answer.text
    assert f"more than {most} files and fields" in answer.json["detail"]


def test_each_of_500_files_may_have_an_id_of_its_own(client: FlaskClient) -> None:
    files = form("files", 500 * [b"a.jpg"]).removesuffix(b"--q--\r\n")
    field = b'--q\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    ids = b"".join(field % (b"custom_id", b"%d" % k) for k in range(500))
    options = field % (b"top_k", b"3") + field % (b"lane", b"bulk") + field % (b"thumbnails", b"1")
    answer = post(client, "/jobs", files + ids + options + b"--q--\r\n")
    assert answer.status_code == 202, answer.text


def test_a_part_keeps_little_of_its_head(client: FlaskClient) -> None:
    """Each line would be three objects, for as long as the form is in memory."""
    lines = b"".join(b"%x:\r\n" % k for k in range(2000))
    name = "\N{PEACOCK}" + "n" * 4000 + ".jpg"
    body = form("file", [name.encode()]).replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n", 1)
    with client.application.test_request_context(
        method="POST", data=body, content_type="multipart/form-data; boundary=q"
    ):
        file = request.files["file"]
        assert file.read() == JPEG and len(file.headers) == 0
        assert file.filename and len(file.filename) == 1024 and file.filename.endswith("n.jpg")
    assert post(client, "/api/v1/classify", body).status_code in (200, 202)

"""What the body of a request takes, in memory and on disk, as far as its head says."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.formparser import default_stream_factory
from werkzeug.wrappers import Request

from shared.errors import Overloaded
from shared.settings import Settings
from web.schemas.submission import largest_open_request
from web.submit import bodies
from web.submit.bodies import SPOOLED_BYTES, Bodies, Size, sizes

CLASSIFY, JOBS = "/api/v1/classify", "/api/v1/jobs"
SETTINGS = Settings()
MB = 2**20
#: A form may have so much text, whose characters may take four bytes, and so many parts.
MORE = 3 * 500_000 + 1020 * 1000


def size(rule: str, kind: str, length: int | None) -> Size:
    environ = {"CONTENT_TYPE": kind, "CONTENT_LENGTH": str(length)}
    if length is None:
        environ = {"CONTENT_TYPE": kind, "HTTP_TRANSFER_ENCODING": "chunked"}
    return sizes(SETTINGS)[rule](Request(environ))


PARTS = "/api/v1/jobs/<job_id>/parts/<number>"
FORM = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("rule", "kind", "length", "expected"),
    [
        (CLASSIFY, "image/jpeg", 5 * MB, Size(5 * MB)),
        (CLASSIFY, "image/jpeg", 2**40, Size(0)),  # it is refused with 413
        (CLASSIFY, "image/jpeg", None, Size(SETTINGS.max_image_bytes + 64 * 2**10)),
        (CLASSIFY, FORM, 50_000, Size(4 * 50_000 + 20 * 1000)),
        (JOBS, FORM, 5 * MB, Size(5 * MB + MORE)),
        (JOBS, FORM, None, Size(SETTINGS.max_request_bytes + MORE)),
        (JOBS, FORM, 6000, Size(4 * 6000 + 100 * 1000)),
        (JOBS, FORM, 100 * MB, Size(MORE, 100 * MB)),  # it can only be an archive, which is on disk
        (JOBS, "application/zip", 5 * MB, Size(0, 5 * MB)),
        (JOBS, "application/zip", None, Size(0, SETTINGS.max_archive_bytes)),
        (JOBS, "application/json", 20, Size(20)),
        (JOBS, "application/json", None, Size(largest_open_request(500_000))),
        (PARTS, FORM, 5 * MB, Size(5 * MB + 3 * 500_000 + 64 * 1000)),
        (PARTS, FORM, 100 * MB, Size(32 * SPOOLED_BYTES + 3 * 500_000 + 64 * 1000, 100 * MB)),
    ],
)
def test_a_body_takes(rule: str, kind: str, length: int | None, expected: Size) -> None:
    assert size(rule, kind, length) == expected


def test_files_of_forms_are_in_memory_up_to_the_size_that_is_counted() -> None:
    with default_stream_factory(None, None, None) as opened:
        file: Any = opened
        file.write(bytes(SPOOLED_BYTES))
        assert not file._rolled
        file.write(b"x")
        assert file._rolled


def test_bodies_leave_some_of_the_disk_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis whose disk is full stores nothing more."""
    free = SimpleNamespace(free=2**30 + 10 * MB)
    monkeypatch.setattr(bodies.shutil, "disk_usage", lambda _: free)
    for taken, fits in [(Size(0, 11 * MB), False), (Size(0, 9 * MB), True), (Size(11 * MB), True)]:
        with Bodies.from_settings(SETTINGS).of("client") as body:
            with nullcontext() if fits else pytest.raises(Overloaded, match="disk"):
                body.take(taken)

"""Archives on their way in: their bytes go to disk, and only so many come at a time.

An archive may be far larger than any other body. Whether a form carries one is not known before
its first file begins, so a form that is too large for pictures is ended right there if that file
is no archive, or if a second one follows.
"""

from __future__ import annotations

import io
import tempfile
from threading import BoundedSemaphore
from typing import IO, cast

from flask import Flask, Request, g, request

from shared.errors import Overloaded, RequestTooLarge
from shared.settings import Settings
from web.intake.archives.archive import HEAD_BYTES, may_be_archive
from web.server.threads import in_thread

#: What the body is said to be where it is the archive itself.
TYPES = frozenset(
    {
        *("application/zip", "application/x-zip-compressed", "application/x-tar"),
        *("application/gzip", "application/x-gzip", "application/x-compressed-tar"),
    }
)

#: Archives that one web process takes in at a time: each may fill its share of the disk.
_AT_ONCE = 4
_BUSY_SECONDS = 5

_PIECE = 2**18


def register(app: Flask, settings: Settings) -> None:
    """Let archives be as large as they may, and refuse one too many before its body is read."""
    slots = BoundedSemaphore(_AT_ONCE)

    def make_way() -> None:
        size = request.content_length or 0
        is_form = request.mimetype == "multipart/form-data"
        too_large = is_form and size > settings.max_request_bytes
        if not _is_submission() or not (is_raw() or too_large):
            return
        if size > settings.max_archive_bytes:
            raise RequestTooLarge
        if not slots.acquire(blocking=False):
            raise Overloaded(retry_after_seconds=_BUSY_SECONDS)
        g.archive_slot, g.archive_files = slots, []
        request.max_content_length = settings.max_archive_bytes

    def give_back(_: BaseException | None) -> None:
        for file in g.pop("archive_files", []):
            in_thread(file.close)  # the disk has its room back before the next archive comes
        if slot := g.pop("archive_slot", None):
            slot.release()

    app.request_class = _Request
    app.before_request(make_way)
    app.teardown_request(give_back)


def is_raw() -> bool:
    """Whether the present request's body says that it is an archive."""
    return request.mimetype in TYPES


def is_expected() -> bool:
    """Whether the present request was let in as an archive, and can be nothing else."""
    return "archive_slot" in g


def spooled_body() -> IO[bytes]:
    """The present request's body, on disk until the request ends."""
    file = cast(IO[bytes], tempfile.TemporaryFile())
    g.archive_files.append(file)
    while piece := request.stream.read(_PIECE):
        file.write(piece)
    return file


def _is_submission() -> bool:
    return request.method == "POST" and (request.endpoint or "").endswith("jobs.submit")


class _Request(Request):
    _files = 0

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        self._files += 1
        if not is_expected():
            return super()._get_file_stream(
                total_content_length, content_type, filename, content_length
            )
        if self._files > 1:
            raise RequestTooLarge
        file = cast(IO[bytes], _ArchiveFile())
        g.archive_files.append(file)
        return file


class _ArchiveFile(io.BufferedRandom):
    """A file on disk that is an archive as far as one can tell from its first bytes."""

    def __init__(self) -> None:
        super().__init__(cast(io.RawIOBase, tempfile.TemporaryFile(buffering=0)))
        self._head = b""

    def write(self, data: io.BufferedIOBase | bytes) -> int:  # type: ignore[override]
        piece = bytes(cast(bytes, data))
        if len(self._head) < HEAD_BYTES:
            self._head += piece[: HEAD_BYTES - len(self._head)]
            if len(self._head) == HEAD_BYTES and not may_be_archive(self._head):
                raise RequestTooLarge
        return super().write(piece)

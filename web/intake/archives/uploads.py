"""Uploads of archives: their bytes go to disk, and only a few archives are unpacked at a time.

An archive may be far larger than any other body. Whether a form carries one is not known before its
first file begins. So a form that is too large for pictures is refused at that point if the file is
no archive, and also if a second file follows.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, cast

from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.wrappers import Request

from shared.errors import Overloaded, RequestTooLarge
from shared.sizes import allowed, too_large
from web.intake.archives.archive import HEAD_BYTES, may_be_archive
from web.server.fairness.lines import Lines
from web.server.threads import in_thread

#: Content types of a body that is the archive itself.
TYPES = frozenset(
    {
        *("application/zip", "application/x-zip-compressed", "application/x-tar"),
        *("application/gzip", "application/x-gzip", "application/x-compressed-tar"),
        "application/octet-stream",
    }
)

#: Archives that one web process unpacks at a time: the others wait for their threads. All that
#: arrive may have so many times `MAX_ARCHIVE_BYTES` together (web.submit.bodies).
AT_ONCE = 4
_BUSY_SECONDS = 5

_PIECE = 2**18


class Form(NamedTuple):
    """A form that has been read."""

    fields: MultiDict[str, str]
    files: MultiDict[str, FileStorage]


class ArchiveUploads:
    """The archives that this process receives."""

    def __init__(
        self, *, max_archive_bytes: int, max_request_bytes: int, wait_seconds: float
    ) -> None:
        """A form of more than `max_request_bytes` can only carry an archive.

        An archive that has arrived waits for `wait_seconds` at most, until others are unpacked.
        """
        self._max_archive_bytes = max_archive_bytes
        self._max_request_bytes = max_request_bytes
        self._places = Lines(AT_ONCE, seconds=wait_seconds)

    def is_expected(self, request: Request) -> bool:
        """Whether the body of a submission must be, or must carry, an archive."""
        size = request.content_length or 0
        return request.mimetype in TYPES or (
            request.mimetype == "multipart/form-data" and size > self._max_request_bytes
        )

    @contextmanager
    def receive(self, request: Request) -> Iterator[ArchiveBody]:
        """Let a body be as large as an archive may be, for the time of the block.

        Its client may send it slowly, so it takes no place of those that have arrived. Raises
        RequestTooLarge.
        """
        size, most = request.content_length or 0, self._max_archive_bytes
        if size > most:
            body_size = too_large(size, most, "MAX_ARCHIVE_BYTES")
            raise RequestTooLarge(f"The request has {body_size}. Send several archives.")
        body = ArchiveBody(request, self._max_request_bytes)
        try:
            request.max_content_length = most
            yield body
        finally:
            body.close()

    @contextmanager
    def unpacking(self, client: str) -> Iterator[None]:
        """Let an archive that has arrived be unpacked in the block, perhaps after a wait.

        Raises Overloaded if too many others are unpacked meanwhile: of all clients, or of this one.
        """
        if not self._places.take(client, 1):
            raise Overloaded(retry_after_seconds=_BUSY_SECONDS)
        try:
            yield
        finally:
            self._places.give_back(client, 1)


class ArchiveBody:
    """The body of one request, on disk until it is closed."""

    def __init__(self, request: Request, max_request_bytes: int) -> None:
        self._request = request
        self._max_request_bytes = max_request_bytes
        self._files: list[IO[bytes]] = []

    def read_raw(self) -> IO[bytes]:
        """A body that is the archive itself."""
        file = cast(IO[bytes], tempfile.TemporaryFile())
        self._files.append(file)
        while piece := self._request.stream.read(_PIECE):
            file.write(piece)
        return file

    def read_form(self) -> Form:
        """A form with one archive. Raises RequestTooLarge if its file cannot be one."""
        request = self._request
        parser = FormDataParser(
            stream_factory=self._new_file,
            max_form_memory_size=request.max_form_memory_size,
            max_content_length=request.max_content_length,
            max_form_parts=request.max_form_parts,
            cls=request.parameter_storage_class,
        )
        _, fields, files = parser.parse(
            request.stream, request.mimetype, request.content_length, request.mimetype_params
        )
        return Form(fields, files)

    def close(self) -> None:
        """Free the disk, before the next archive comes. That may take a while."""
        in_thread(lambda: [file.close() for file in self._files])

    def _new_file(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if self._files:
            raise _not_one_archive(self._max_request_bytes)
        file = cast(IO[bytes], _ArchiveFile(self._max_request_bytes))
        self._files.append(file)
        return file


class _ArchiveFile(io.BufferedRandom):
    """A file on disk that is an archive, as far as its first bytes tell."""

    def __init__(self, max_request_bytes: int) -> None:
        super().__init__(cast(io.RawIOBase, tempfile.TemporaryFile(buffering=0)))
        self._max_request_bytes = max_request_bytes
        self._head = b""

    def write(self, data: io.BufferedIOBase | bytes) -> int:  # type: ignore[override]
        piece = bytes(cast(bytes, data))
        if len(self._head) < HEAD_BYTES:
            self._head += piece[: HEAD_BYTES - len(self._head)]
            if len(self._head) == HEAD_BYTES and not may_be_archive(self._head):
                raise _not_one_archive(self._max_request_bytes)
        return super().write(piece)


def _not_one_archive(max_request_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"A request of more than {allowed(max_request_bytes)} (MAX_REQUEST_BYTES) may have one"
        " file, which must be an archive. Send several requests, or an archive."
    )

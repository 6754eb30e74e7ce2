"""The request bodies that a web process holds at a time, in memory and on disk.

What a body may take is known before it is read: from its length, or else from the most that its
call reads. So a body waits for room before it is read, and a refusal comes before it, too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from werkzeug.wrappers import Request

from shared.errors import Overloaded
from shared.jobs import PART_SIZE
from shared.settings import Settings
from web.intake.archives.uploads import AT_ONCE, TYPES
from web.intake.uploads import FORM, FORM_OVERHEAD
from web.schemas.submission import largest_open_request
from web.server.fairness.lines import Lines
from web.server.fairness.shares import Shares

#: In the WSGI environment: the body of a submission.
BODY = "classifier.body"

#: A body has found no room for it. Room comes as soon as others have been stored.
_RETRY_AFTER_SECONDS = 5

#: The text fields of a form may have so many bytes (web.intake.forms). As text, a byte may take
#: four.
_TEXT_BYTES = cast(int, Request.max_form_memory_size)
_MORE_FOR_A_BYTE = 3

#: A part of a form takes so many bytes beside its own, and has at least so many in the body.
_PART_BYTES, _LEAST_PART = 1000, 60
#: Files of a form that is a job. Each may have a `custom_id`.
MAX_FILES = 500
#: Parts of a form with one picture, of one with a part of a job, and of one with a whole job. Their
#: routes set the limits.
PARTS_OF_PICTURE, PARTS_OF_PART, PARTS_OF_JOB = 20, 2 * PART_SIZE, 2 * MAX_FILES + 20

#: Werkzeug keeps a larger file of a form on disk.
SPOOLED_BYTES = 500 * 2**10


#: Bytes of the disk that bodies leave free. Redis may have its append-only file there, and could
#: store nothing more if it were full.
_FREE_DISK_BYTES = 2**30

_DISK_FULL = "The disk of the service is nearly full. Send fewer or smaller files in one request."


class Size(NamedTuple):
    """Bytes that a body takes."""

    memory: int
    disk: int = 0


class Body:
    """The body of one request. It holds nothing until `take`, and nothing after its block."""

    def __init__(self, bodies: Bodies, client: str) -> None:
        self._bodies = bodies
        self._client = client
        self._held: list[tuple[Shares | Lines, int]] = []
        #: Whether it holds memory for all its bytes.
        self.in_memory = False

    def take(self, size: Size, kind: str = "") -> None:
        """Hold a place, and room for a body of `size`. Wait for room behind others of its kind.

        Raises Overloaded, and holds less then.
        """
        if size.disk and _free_disk() - size.disk < _FREE_DISK_BYTES:
            raise Overloaded(_DISK_FULL, retry_after_seconds=_RETRY_AFTER_SECONDS)
        bodies, client = self._bodies, self._client
        self._hold(bodies.places, 1, bodies.places.take(client, 1))
        self._hold(bodies.disk, size.disk, bodies.disk.take(client, size.disk, kind))
        self._hold(bodies.memory, size.memory, bodies.memory.take(client, size.memory, kind))
        self.in_memory = not size.disk

    def _hold(self, shares: Shares | Lines, amount: int, taken: bool) -> None:
        if not taken:
            raise Overloaded(retry_after_seconds=_RETRY_AFTER_SECONDS)
        self._held.append((shares, amount))

    def free_memory(self) -> None:
        """Give the memory back: the body is stored, and its client only waits."""
        self._give_back(self._held[2:])
        del self._held[2:]

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *raised: object) -> None:
        self._give_back(self._held)
        self._held = []

    def _give_back(self, held: list[tuple[Shares | Lines, int]]) -> None:
        for shares, amount in held:
            shares.give_back(self._client, amount)


class Bodies:
    """What the bodies of a process may take together. Each client has a share of it."""

    def __init__(self, *, most: int, memory: int, disk: int, wait_seconds: float = 0) -> None:
        """Limits of their number, and of their bytes in memory and on disk.

        A body waits for `wait_seconds` at most, for memory and for the disk.
        """
        self.places = Shares(most)
        self.memory = Lines(memory, seconds=wait_seconds)
        self.disk = Lines(disk, seconds=wait_seconds)

    @classmethod
    def from_settings(cls, settings: Settings) -> Bodies:
        return cls(
            most=settings.max_concurrent_submissions,
            memory=settings.max_body_memory_bytes,
            disk=AT_ONCE * settings.max_archive_bytes,
            wait_seconds=settings.body_wait_seconds,
        )

    def of(self, client: str) -> Body:
        """A body of `client`, to be used as a context manager."""
        return Body(self, client)


def _free_disk() -> int:
    """Bytes that are free where temporary files are."""
    return shutil.disk_usage(tempfile.gettempdir()).free


def sizes(settings: Settings) -> Mapping[str, Callable[[Request], Size]]:
    """What the bodies of each call take, by the rule of its route."""
    open_request = largest_open_request(settings.max_job_images)

    def of_picture(request: Request) -> Size:
        length = _length(request, settings.max_image_bytes + FORM_OVERHEAD)
        return _in_memory(request, length, PARTS_OF_PICTURE)

    def of_job(request: Request) -> Size:
        kind = request.mimetype
        if kind == "application/json":
            return Size(_length(request, open_request))
        if kind in TYPES or (request.content_length or 0) > settings.max_request_bytes:
            length = _length(request, settings.max_archive_bytes)
            return Size(_of_form(request, length, PARTS_OF_JOB), length)
        return _in_memory(request, _length(request, settings.max_request_bytes), PARTS_OF_JOB)

    def of_part(request: Request) -> Size:
        length = _length(request, PART_SIZE * settings.max_image_bytes + FORM_OVERHEAD)
        if length <= PART_SIZE * SPOOLED_BYTES:  # web.routes.form_files keeps it in memory
            return _in_memory(request, length, PARTS_OF_PART)
        return Size(PART_SIZE * SPOOLED_BYTES + _of_form(request, length, PARTS_OF_PART), length)

    return {
        "/api/v1/classify": of_picture,
        "/api/v1/jobs": of_job,
        "/api/v1/jobs/<job_id>/parts/<number>": of_part,
    }


def _in_memory(request: Request, length: int, most_parts: int) -> Size:
    return Size(length + _of_form(request, length, most_parts))


def _of_form(request: Request, length: int, most_parts: int) -> int:
    """More bytes in memory that a form may take: it may be all text, or all heads of parts."""
    if request.mimetype != FORM:
        return 0
    parts = min(length // _LEAST_PART, most_parts)
    return _MORE_FOR_A_BYTE * min(length, _TEXT_BYTES) + _PART_BYTES * parts


def _length(request: Request, most: int) -> int:
    """The length of a body, or the most that is read of it if it comes in chunks."""
    if "HTTP_TRANSFER_ENCODING" in request.environ:
        return most
    length = request.content_length or 0
    return length if length <= most else 0  # a longer one is refused with 413 and not read

"""What can go wrong, as exceptions: branch on the class, or on `code`.

ImageClassifierError
├── UsageError                  told before anything was done
├── NoAnswer                    cannot connect, cut off, or too late
├── NotFinished                 the wait has ended; the job goes on
└── Refused                     the service answered, and said no: `status`, `code`
    ├── NotAuthenticated
    ├── InvalidRequest
    │   ├── PictureRefused      EmptyFile, UnsupportedFormat, ImageTooLarge, TooManyPixels,
    │   │                       TruncatedImage, DecodeFailed, DecodeTimeout, TooMuchMemory
    │   └── RequestTooLarge     TooManyFiles
    ├── NotFound                JobNotFound, DeadLetterNotFound
    ├── Conflict                ImagesNeeded, PartConflict, JobClosed, JobCancelled
    ├── ImageExpired, WorkerLost
    └── TryLater                Overloaded, RateLimited, ModelNotReady: `retry_after`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import httpx


class ImageClassifierError(Exception):
    """Whatever this package raises about the service."""


class UsageError(ImageClassifierError):
    """Asked of this package, not of the service, what cannot be done."""


class NoAnswer(ImageClassifierError):
    """The service cannot be reached, or the connection was cut or too slow."""


class NotFinished(ImageClassifierError):
    """The wait has ended and the job has not; nothing is lost."""

    def __init__(self, job_id: str, seconds: float) -> None:
        super().__init__(f"job {job_id} has not ended after {seconds:.0f} s; it goes on")
        self.job_id = job_id


class Refused(ImageClassifierError):
    """The service answered with an error."""

    #: Which class stands for a code.
    by_code: ClassVar[dict[str, type[Refused]]] = {}

    def __init_subclass__(cls, codes: Sequence[str] = ()) -> None:
        cls.by_code.update(dict.fromkeys(codes, cls))

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        retry_after: float | None = None,
        request_id: str | None = None,
        job_id: str | None = None,
        indexes: Sequence[int] = (),
    ) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.message = message
        self.status = status
        self.code = code  #: Stable; new ones may come.
        self.retry_after = retry_after  #: Seconds, where the service told.
        self.request_id = request_id  #: For a question to whoever runs the service.
        self.job_id = job_id
        self.indexes = tuple(indexes)


class NotAuthenticated(Refused, codes=("not_authenticated",)):
    """No API key, or one that is not in use."""


_INVALID = (
    *("invalid_request", "unknown_field", "no_files", "wrong_part_size"),
    *("bad_archive", "archive_too_large"),
)


class InvalidRequest(Refused, codes=_INVALID):
    """The service cannot do this as it was asked."""


class RequestTooLarge(InvalidRequest, codes=("request_too_large",)):
    """More bytes in one request than allowed."""


class TooManyFiles(RequestTooLarge, codes=("too_many_files",)):
    """More files in one request than allowed."""


_MEMBERS = (
    *("nested_archive", "not_a_file", "unsafe_path"),
    *("encrypted_member", "unsupported_compression", "corrupt_member"),
)


class PictureRefused(InvalidRequest, codes=_MEMBERS):
    """The picture is no good, or cannot be taken out of its archive."""


class EmptyFile(PictureRefused, codes=("empty_file",)):
    pass


class UnsupportedFormat(PictureRefused, codes=("unsupported_format",)):
    pass


class ImageTooLarge(PictureRefused, codes=("image_too_large",)):
    pass


class TooManyPixels(PictureRefused, codes=("too_many_pixels",)):
    pass


class TruncatedImage(PictureRefused, codes=("truncated_image",)):
    pass


class DecodeFailed(PictureRefused, codes=("decode_failed",)):
    pass


class DecodeTimeout(PictureRefused, codes=("decode_timeout",)):
    pass


class TooMuchMemory(PictureRefused, codes=("too_much_memory",)):
    pass


class NotFound(Refused):
    """Unknown or expired: the service does not tell which."""


class JobNotFound(NotFound, codes=("job_not_found",)):
    pass


class DeadLetterNotFound(NotFound, codes=("dead_letter_not_found",)):
    pass


class Conflict(Refused):
    """The job is not in a state for this."""


class ImagesNeeded(Conflict, codes=("images_needed",)):
    """The service no longer knows these images: `indexes` in the job. Send their bytes."""


class PartConflict(Conflict, codes=("part_conflict",)):
    """Other images are stored as this part."""


class JobClosed(Conflict, codes=("job_closed",)):
    """The job takes no more parts."""


class JobCancelled(Conflict, codes=("job_cancelled",)):
    """Somebody has cancelled the job."""


class ImageExpired(Refused, codes=("image_expired",)):
    """The picture waited longer than pictures are kept."""


class WorkerLost(Refused, codes=("worker_lost",)):
    """Every worker that tried this picture died."""


class TryLater(Refused, codes=("unavailable",)):
    """Not now; nothing of the request was kept. Raised when trying again has not helped."""


class Overloaded(TryLater, codes=("overloaded",)):
    pass


class RateLimited(TryLater, codes=("rate_limited",)):
    pass


class ModelNotReady(TryLater, codes=("model_not_ready",)):
    pass


#: For codes that this version does not know.
_BY_STATUS: dict[int, type[Refused]] = {
    401: NotAuthenticated,
    404: NotFound,
    409: Conflict,
    413: RequestTooLarge,
    422: InvalidRequest,
    429: TryLater,
    502: TryLater,
    503: TryLater,
    504: TryLater,
}


def refusal(response: httpx.Response) -> Refused:
    """The exception for an answer that is an error; its body must have been read."""
    try:
        problem: dict[str, Any] = dict(response.json())
    except (ValueError, TypeError):
        # Not from the service: a proxy, or another program on this port.
        problem = {}
    status = response.status_code
    code = str(problem.get("code") or f"http_{status}")
    error = Refused.by_code.get(code) or _BY_STATUS.get(status, Refused)
    return error(
        str(problem.get("detail") or response.reason_phrase),
        status=status,
        code=code,
        retry_after=_seconds(response.headers.get("Retry-After")),
        request_id=response.headers.get("X-Request-Id"),
        job_id=problem.get("job_id"),
        indexes=problem.get("indexes") or (),
    )


def _seconds(retry_after: str | None) -> float | None:
    """Only the form in seconds; a date would need both clocks to agree."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def failure(code: str, message: str, *, job_id: str) -> Refused:
    """The exception for an item that failed, as `/classify` would have answered it."""
    return Refused.by_code.get(code, Refused)(message, status=200, code=code, job_id=job_id)

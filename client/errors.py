"""The exceptions of this package. Branch on the class, or on `code`.

ImageClassifierError
├── UsageError                  the arguments are wrong; nothing was done
├── NoAnswer                    a broken connection, or a timeout
│   └── CannotConnect           nothing listens at the address
├── WrongAnswer                 another program answers, or a service of another kind
├── NotFinished                 the wait is over and the job still runs
└── Refused                     the service answered with an error: `status`, `code`
    ├── NotAuthenticated
    ├── InvalidRequest
    │   ├── PictureRefused      EmptyFile, UnsupportedFormat, ImageTooLarge, TooManyPixels,
    │   │                       TruncatedImage, DecodeFailed, DecodeTimeout, TooMuchMemory
    │   └── RequestTooLarge     TooManyFiles
    ├── NotFound                JobNotFound, DeadLetterNotFound
    ├── Conflict                ImagesNeeded, PartConflict, JobClosed, JobCancelled
    ├── ImageExpired, WorkerLost
    └── TryLater                Overloaded, RateLimited, TooManyOpenJobs, TooManyOutstanding,
                            TooMuchKept, DailyLimitReached, ModelNotReady: `retry_after`
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import ClassVar


class ImageClassifierError(Exception):
    """The base class of every exception of this package."""


class UsageError(ImageClassifierError):
    """The arguments are wrong. Nothing was sent."""


class NoAnswer(ImageClassifierError):
    """The service could not be reached, or the connection broke or timed out."""


class CannotConnect(NoAnswer):
    """Nothing listens at the address of the service, or nothing that can be reached."""

    def __init__(self, address: str, reason: str, proxy: str | None = None) -> None:
        """`proxy` is the variable that names the proxy for the address."""
        if proxy:
            super().__init__(
                f"The proxy of {proxy} does not connect to {address} ({reason})."
                " If the service needs no proxy, add its host to NO_PROXY."
            )
        else:
            super().__init__(
                f"Nothing answers at {address} ({reason})."
                " Start the service, or set IMAGE_CLASSIFIER_URL to its address."
            )


class WrongAnswer(ImageClassifierError):
    """The answer is none of an image classifier, such as the page of a router or a proxy."""

    def __init__(self, address: str, reason: Exception) -> None:
        super().__init__(not_of_a_service(address, textwrap.shorten(repr(reason), 120)))


def not_of_a_service(address: str, reason: str) -> str:
    return (
        f"{address} answers, but not as an image classifier does ({reason})."
        " Check the address, and whether a proxy or a login page answers instead."
    )


class NotFinished(ImageClassifierError):
    """The wait is over and the job still runs. Nothing is lost."""

    def __init__(self, job_id: str, seconds: float) -> None:
        super().__init__(f"Job {job_id} still runs after {seconds:.0f} s.")
        self.job_id = job_id


class Refused(ImageClassifierError):
    """The service answered with an error."""

    #: The class for each error code of the service.
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
        self.code = code  #: Stable. Later services may have more codes.
        self.retry_after = retry_after  #: Seconds; None where the service gave none.
        self.request_id = request_id  #: Names this request in the service's log.
        self.job_id = job_id
        self.indexes = tuple(indexes)


class NotAuthenticated(Refused, codes=("not_authenticated", "api_key_expired")):
    """The API key is missing or not valid, or it has expired."""

    def __str__(self) -> str:
        # The service also says how a program sends the key. This package does that.
        reason = super().__str__().partition(" Send ")[0]
        return f"{reason} Set IMAGE_CLASSIFIER_API_KEY to a valid API key."


_INVALID = (
    *("invalid_request", "unknown_field", "no_files", "wrong_part_size"),
    *("bad_archive", "archive_too_large"),
)


class InvalidRequest(Refused, codes=_INVALID):
    """The request is wrong."""


class RequestTooLarge(InvalidRequest, codes=("request_too_large",)):
    """The request has more bytes than the service allows."""


class TooManyFiles(RequestTooLarge, codes=("too_many_files",)):
    """The request has more files than the service allows."""


_MEMBERS = (
    *("nested_archive", "not_a_file", "unsafe_path"),
    *("encrypted_member", "unsupported_compression", "corrupt_member"),
)


class PictureRefused(InvalidRequest, codes=_MEMBERS):
    """The picture cannot be classified, or cannot be unpacked from its archive."""


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
    """The id is unknown or has expired. The service does not say which."""


class JobNotFound(NotFound, codes=("job_not_found",)):
    pass


class DeadLetterNotFound(NotFound, codes=("dead_letter_not_found",)):
    pass


class Conflict(Refused):
    """The job's state does not allow this call."""


class ImagesNeeded(Conflict, codes=("images_needed",)):
    """The service has no cached result for the items `indexes`. Send their bytes."""


class PartConflict(Conflict, codes=("part_conflict",)):
    """The service already holds this part with other images."""


class JobClosed(Conflict, codes=("job_closed",)):
    """The job accepts no more parts."""


class JobCancelled(Conflict, codes=("job_cancelled",)):
    """The job was cancelled."""


class ImageExpired(Refused, codes=("image_expired",)):
    """The picture waited longer than the service keeps pictures."""


class WorkerLost(Refused, codes=("worker_lost",)):
    """Every worker that classified this picture died."""


class TryLater(Refused, codes=("unavailable",)):
    """The service cannot answer now and stored nothing. Raised after the last retry."""


class Overloaded(TryLater, codes=("overloaded", "lane_closed")):
    pass


class RateLimited(TryLater, codes=("rate_limited",)):
    pass


class TooManyOpenJobs(TryLater, codes=("too_many_open_jobs",)):
    pass


class TooManyOutstanding(TryLater, codes=("too_many_outstanding",)):
    pass


class TooMuchKept(TryLater, codes=("too_much_kept",)):
    pass


class DailyLimitReached(TryLater, codes=("daily_limit_reached",)):
    pass


class ModelNotReady(TryLater, codes=("model_not_ready",)):
    pass


def failure(code: str, message: str, *, job_id: str) -> Refused:
    """The exception for a failed item: the one that `/classify` would raise."""
    return Refused.by_code.get(code, Refused)(message, status=200, code=code, job_id=job_id)

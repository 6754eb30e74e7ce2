"""Everything that can go wrong, each with a code.

Clients branch on the codes, so a code never changes. A docstring is the default message, so it says
what is wrong and what to do. web.http.errors gives each error its HTTP status. docs/http.md lists
codes and messages, and a test compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ClassifierError(Exception):
    """The service has failed. Its log says why."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


# The request


class InvalidRequest(ClassifierError):
    """The request is not valid. Correct it and send it again."""

    code = "invalid_request"


class UnknownField(InvalidRequest):
    """The request has a field that this call does not know. Remove it, or correct its name."""

    code = "unknown_field"


class RequestTooLarge(InvalidRequest):
    """The request is larger than allowed. Send fewer or smaller files in one request."""

    code = "request_too_large"


class NoFiles(InvalidRequest):
    """The request has no picture. Send at least one."""

    code = "no_files"


class TooManyFiles(InvalidRequest):
    """The request has more files than allowed. Send them in several requests."""

    code = "too_many_files"


# The archive


class BadArchive(InvalidRequest):
    """The archive is damaged or incomplete. Make it again, and send it again."""

    code = "bad_archive"


class ArchiveTooLarge(InvalidRequest):
    """The archive holds more than allowed. Split it into smaller ones."""

    code = "archive_too_large"


class NestedArchive(InvalidRequest):
    """The file is an archive inside the archive. Unpack it, or send it on its own."""

    code = "nested_archive"


class NotAFile(InvalidRequest):
    """The archive has a link or a device here. Put the picture itself into the archive."""

    code = "not_a_file"


class UnsafePath(InvalidRequest):
    """The name in the archive is absolute or leads out of its folder. Use a relative name."""

    code = "unsafe_path"


class EncryptedMember(InvalidRequest):
    """The file in the archive is encrypted. Make the archive without a password."""

    code = "encrypted_member"


class UnsupportedCompression(InvalidRequest):
    """The file's compression is not supported. Use deflate, or no compression."""

    code = "unsupported_compression"


class CorruptMember(InvalidRequest):
    """The file in the archive is damaged. Make the archive again."""

    code = "corrupt_member"


# The options of a job


class WrongPartSize(InvalidRequest):
    """The part has the wrong number of items. Send exactly the items of its number."""

    code = "wrong_part_size"


class IdempotencyKeyReused(InvalidRequest):
    """Another request used this Idempotency-Key. Use a new key for a new request."""

    code = "idempotency_key_reused"


class InvalidWebhook(InvalidRequest):
    """The webhook's address cannot be used. Send a public https:// or http:// address."""

    code = "invalid_webhook"


class WebhooksDisabled(InvalidWebhook):
    """Webhooks are off. Leave `webhook` out, or have the operator set WEBHOOKS=true."""

    code = "webhooks_disabled"


# The picture


class EmptyFile(InvalidRequest):
    """The file is empty. Send a picture."""

    code = "empty_file"


class UnsupportedFormat(InvalidRequest):
    """The file is not a JPEG, PNG, WebP, GIF, BMP or TIFF picture. Send one of these."""

    code = "unsupported_format"


class ImageTooLarge(InvalidRequest):
    """The file is larger than allowed. Send a smaller one."""

    code = "image_too_large"


class TooManyPixels(InvalidRequest):
    """The picture has more pixels than allowed. Send a smaller one."""

    code = "too_many_pixels"


class TruncatedImage(InvalidRequest):
    """The end of the picture is missing. Send the whole file."""

    code = "truncated_image"


class DecodeFailed(InvalidRequest):
    """The picture cannot be decoded. Save it again in an image program."""

    code = "decode_failed"


class DecodeTimeout(InvalidRequest):
    """The picture takes too long to decode. Send a smaller one, or another format."""

    code = "decode_timeout"


class TooMuchMemory(InvalidRequest):
    """The picture takes too much memory to decode. Send a smaller one, or another format."""

    code = "too_much_memory"


class ImageExpired(ClassifierError):
    """The picture waited too long and was deleted. Send it again."""

    code = "image_expired"


class WorkerLost(ClassifierError):
    """The worker died at each try of this picture. Retry it from the list of dead letters."""

    code = "worker_lost"


# What the request asks for


class NotAuthenticated(ClassifierError):
    """The API key is missing or not valid. Send `Authorization: Bearer <key>`."""

    code = "not_authenticated"


class HostNotAllowed(ClassifierError):
    """The service does not answer to this name. Add it to ALLOWED_HOSTS, or use an IP address."""

    code = "host_not_allowed"


class CrossSite(ClassifierError):
    """A web page of another site sent this. To allow it, add its origin to ALLOWED_ORIGINS."""

    code = "cross_site"


class JobNotFound(ClassifierError):
    """No job has this id, or its results have expired. Check the id, or submit again."""

    code = "job_not_found"


class DeadLetterNotFound(ClassifierError):
    """No dead letter has this id. It was retried or has expired: list the dead letters again."""

    code = "dead_letter_not_found"


class NotAcceptable(ClassifierError):
    """This call cannot answer in a format that you accept. Change the header `Accept`."""

    code = "not_acceptable"


class JobClosed(ClassifierError):
    """The job takes no parts. It was cancelled, or not opened for parts: open a new job."""

    code = "job_closed"


class JobCancelled(ClassifierError):
    """The job was cancelled before this picture was classified. Send the picture again."""

    code = "job_cancelled"


class PartConflict(ClassifierError):
    """Other pictures are stored as this part. Check the part's number and its pictures."""

    code = "part_conflict"


class ImagesNeeded(ClassifierError):
    """Some digests have no cached result any more. Send the files of these items."""

    code = "images_needed"

    def __init__(self, indexes: Sequence[int]) -> None:
        super().__init__()
        self.indexes = indexes  #: Of these items in the job.


# The service


class ModelNotReady(ClassifierError):
    """No worker has loaded a model yet. Try again later."""

    code = "model_not_ready"


class TryLater(ClassifierError):
    """The service cannot do this now. Try again later."""

    code = "unavailable"

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 2) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(TryLater):
    """The service cannot answer now. Try again later."""

    code = "unavailable"


class Overloaded(TryLater):
    """The service has no room for this request, and kept nothing of it. Try again later."""

    code = "overloaded"


class RateLimited(TryLater):
    """You send requests faster than allowed. Wait as long as `Retry-After` says."""

    code = "rate_limited"


class ModelError(ClassifierError):
    """The model cannot be loaded. Check MODEL, MODEL_WEIGHTS and MODEL_LABELS."""

    code = "model_error"


class WeightsUnreachable(ModelError):
    """The weights cannot be downloaded. Check the network, or set MODEL_WEIGHTS to a file."""

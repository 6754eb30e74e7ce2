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

    def __init_subclass__(cls, *, code: str | None = None) -> None:
        super().__init_subclass__()
        if code:
            cls.code = code

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


# The request


class InvalidRequest(ClassifierError, code="invalid_request"):
    """The request is not valid. Correct it and send it again."""


class UnknownField(InvalidRequest, code="unknown_field"):
    """The request has a field that this call does not know. Remove it, or correct its name."""


class RequestTooLarge(InvalidRequest, code="request_too_large"):
    """The request is larger than allowed. Send fewer or smaller files in one request."""


class NoFiles(InvalidRequest, code="no_files"):
    """The request has no picture. Send at least one."""


class TooManyFiles(InvalidRequest, code="too_many_files"):
    """The request has more files than allowed. Send them in several requests."""


# The archive


class BadArchive(InvalidRequest, code="bad_archive"):
    """The archive is damaged or incomplete. Make it again, and send it again."""


class ArchiveTooLarge(InvalidRequest, code="archive_too_large"):
    """The archive holds more than allowed. Split it into smaller ones."""


class NestedArchive(InvalidRequest, code="nested_archive"):
    """The file is an archive inside the archive. Unpack it, or send it on its own."""


class NotAFile(InvalidRequest, code="not_a_file"):
    """The archive has a link or a device here. Put the picture itself into the archive."""


class UnsafePath(InvalidRequest, code="unsafe_path"):
    """The name in the archive is absolute or leads out of its folder. Use a relative name."""


class EncryptedMember(InvalidRequest, code="encrypted_member"):
    """The file in the archive is encrypted. Make the archive without a password."""


class UnsupportedCompression(InvalidRequest, code="unsupported_compression"):
    """The file's compression is not supported. Use deflate, or no compression."""


class CorruptMember(InvalidRequest, code="corrupt_member"):
    """The file in the archive is damaged. Make the archive again."""


# The options of a job


class WrongPartSize(InvalidRequest, code="wrong_part_size"):
    """The part has the wrong number of items. Send exactly the items of its number."""


class IdempotencyKeyReused(InvalidRequest, code="idempotency_key_reused"):
    """Another request used this Idempotency-Key. Use a new key for a new request."""


class InvalidWebhook(InvalidRequest, code="invalid_webhook"):
    """The webhook's address cannot be used. Send a public https:// or http:// address."""


class WebhooksDisabled(InvalidWebhook, code="webhooks_disabled"):
    """Webhooks are off. Leave `webhook` out, or have the operator set WEBHOOKS=true."""


class NoEmbedding(InvalidRequest, code="no_embedding"):
    """The model has no embedding. Leave `embeddings` out, or add a model with `--embedding`."""


# The picture


class EmptyFile(InvalidRequest, code="empty_file"):
    """The file is empty. Send a picture."""


class UnsupportedFormat(InvalidRequest, code="unsupported_format"):
    """The file is not a JPEG, PNG, WebP, GIF, BMP, AVIF, HEIC, RAW or TIFF picture. Send one."""


class ImageTooLarge(InvalidRequest, code="image_too_large"):
    """The file is larger than allowed. Send a smaller one."""


class TooManyPixels(InvalidRequest, code="too_many_pixels"):
    """The picture has more pixels than allowed. Send a smaller one."""


class TruncatedImage(InvalidRequest, code="truncated_image"):
    """The end of the picture is missing. Send the whole file."""


class DecodeFailed(InvalidRequest, code="decode_failed"):
    """The picture cannot be decoded. Save it again in an image program."""


class DecodeTimeout(InvalidRequest, code="decode_timeout"):
    """The picture takes too long to decode. Send a smaller one, or another format."""


class TooMuchMemory(InvalidRequest, code="too_much_memory"):
    """The picture takes too much memory to decode. Send a smaller one, or another format."""


class ImageExpired(ClassifierError, code="image_expired"):
    """The picture waited too long and was deleted. Send it again."""


class WorkerLost(ClassifierError, code="worker_lost"):
    """The worker died at each try of this picture. Retry it from the list of dead letters."""


# What the request asks for


class NotAuthenticated(ClassifierError, code="not_authenticated"):
    """The API key is missing or not valid. Send `Authorization: Bearer <key>`."""


class ApiKeyExpired(ClassifierError, code="api_key_expired"):
    """The API key has expired. Ask the operator of the service for a new one."""


class Forbidden(ClassifierError, code="forbidden"):
    """This API key may not make this call. Ask the operator for a key with the scope it needs."""


class HostNotAllowed(ClassifierError, code="host_not_allowed"):
    """The service does not answer to this name. Add it to ALLOWED_HOSTS, or use an IP address."""


class CrossSite(ClassifierError, code="cross_site"):
    """A web page of another site sent this. To allow it, add its origin to ALLOWED_ORIGINS."""


class ListingNeedsKey(ClassifierError, code="listing_needs_key"):
    """Without API keys, only the service's own machine may list jobs and dead letters."""


class JobNotFound(ClassifierError, code="job_not_found"):
    """No job has this id, or its results have expired. Check the id, or submit again."""


class NoWebhook(ClassifierError, code="no_webhook"):
    """The job has no webhook. Name one in the field `webhook` when you create a job."""


class ThumbnailNotFound(ClassifierError, code="thumbnail_not_found"):
    """There is no thumbnail of this picture. The job must have asked for thumbnails."""


class DeadLetterNotFound(ClassifierError, code="dead_letter_not_found"):
    """No dead letter has this id. It was retried or has expired: list the dead letters again."""


class NotAcceptable(ClassifierError, code="not_acceptable"):
    """This call cannot answer in a format that you accept. Change the header `Accept`."""


class JobClosed(ClassifierError, code="job_closed"):
    """The job takes no parts. It was cancelled, or not opened for parts: open a new job."""


class JobCancelled(ClassifierError, code="job_cancelled"):
    """The job was cancelled before this picture was classified. Send the picture again."""


class PartConflict(ClassifierError, code="part_conflict"):
    """Other pictures are stored as this part. Check the part's number and its pictures."""


class ImagesNeeded(ClassifierError, code="images_needed"):
    """Some digests have no cached result any more. Send the files of these items."""

    def __init__(self, indexes: Sequence[int]) -> None:
        super().__init__()
        self.indexes = indexes  #: Of these items in the job.


# The service


class ModelNotReady(ClassifierError, code="model_not_ready"):
    """No worker has loaded a model yet. Try again later."""


class TryLater(ClassifierError, code="unavailable"):
    """The service cannot do this now. Try again later."""

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 2) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(TryLater, code="unavailable"):
    """The service cannot answer now. Try again later."""


class Overloaded(TryLater, code="overloaded"):
    """The service has no room for this request, and kept nothing of it. Try again later."""


class LaneClosed(Overloaded, code="lane_closed"):
    """The operator lets this lane accept nothing now, and nothing was kept. Try again later."""


class RateLimited(TryLater, code="rate_limited"):
    """You send requests faster than allowed. Wait as long as `Retry-After` says."""


class TooManyOutstanding(TryLater, code="too_many_outstanding"):
    """You have as many pictures waiting as one client may have. Send more when some are done."""


class TooMuchKept(TryLater, code="too_much_kept"):
    """Results of your jobs fill your share of the memory. Try again when some have expired."""


class DailyLimitReached(TryLater, code="daily_limit_reached"):
    """Your API key has sent as many pictures as it may on one day. The next begins at 00:00 UTC."""


class TooManyOpenJobs(TryLater, code="too_many_open_jobs"):
    """You have too many jobs that wait for parts. Send their parts, or cancel some of them."""


class ModelError(ClassifierError, code="model_error"):
    """The model cannot be loaded. Check MODEL, MODEL_WEIGHTS and MODEL_LABELS."""


class WeightsUnreachable(ModelError):
    """The weights cannot be downloaded. Check the network, or set MODEL_WEIGHTS to a file."""


class TorchNeeded(ModelError):
    """This model needs PyTorch. Install it with `make torch`."""

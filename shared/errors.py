"""Everything that can go wrong, by name.

ClassifierError                     code
    InvalidRequest                  invalid_request
        UnknownField                unknown_field
        InvalidWebhook              invalid_webhook
            WebhooksDisabled        webhooks_disabled
        EmptyFile                   empty_file
        UnsupportedFormat           unsupported_format
        ImageTooLarge               image_too_large
        TooManyPixels               too_many_pixels
        TruncatedImage              truncated_image
        DecodeFailed                decode_failed
        DecodeTimeout               decode_timeout
        TooMuchMemory               too_much_memory
        NoFiles                     no_files
        TooManyFiles                too_many_files
        BadArchive                  bad_archive
        ArchiveTooLarge             archive_too_large
        NestedArchive               nested_archive
        NotAFile                    not_a_file
        UnsafePath                  unsafe_path
        EncryptedMember             encrypted_member
        UnsupportedCompression      unsupported_compression
        CorruptMember               corrupt_member
        WrongPartSize               wrong_part_size
        IdempotencyKeyReused        idempotency_key_reused
    ImageExpired                    image_expired
    DeadLetterNotFound              dead_letter_not_found
    WorkerLost                      worker_lost
    NotAuthenticated                not_authenticated
    JobNotFound                     job_not_found
    NotAcceptable                   not_acceptable
    JobClosed                       job_closed
    JobCancelled                    job_cancelled
    PartConflict                    part_conflict
    ImagesNeeded                    images_needed
    ModelNotReady                   model_not_ready
    TryLater                        unavailable
        Unavailable                 unavailable
        Overloaded                  overloaded
        RateLimited                 rate_limited
    ModelError                      model_error

A class's docstring is its message where none is given, so each must have one. The codes are part
of the API: clients branch on them. No HTTP here; web.http.errors has the one table to statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ClassifierError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InvalidRequest(ClassifierError):
    """The request is not valid."""

    code = "invalid_request"


class UnknownField(InvalidRequest):
    """The request carries a field that this call does not know."""

    code = "unknown_field"


class RequestTooLarge(InvalidRequest):
    """The request's body has more bytes than allowed."""

    code = "request_too_large"


class NoFiles(InvalidRequest):
    """The request carries no picture."""

    code = "no_files"


class TooManyFiles(InvalidRequest):
    """The request carries more files than one request may."""

    code = "too_many_files"


class BadArchive(InvalidRequest):
    """The archive is damaged, or was cut off."""

    code = "bad_archive"


class ArchiveTooLarge(InvalidRequest):
    """The archive holds more than allowed."""

    code = "archive_too_large"


class NestedArchive(InvalidRequest):
    """An archive in the archive; it is not opened."""

    code = "nested_archive"


class NotAFile(InvalidRequest):
    """A link, a device or the like in the archive; only files are read."""

    code = "not_a_file"


class UnsafePath(InvalidRequest):
    """The name in the archive is absolute or leads out of its folder."""

    code = "unsafe_path"


class EncryptedMember(InvalidRequest):
    """The file in the archive is encrypted."""

    code = "encrypted_member"


class UnsupportedCompression(InvalidRequest):
    """The file in the archive is packed in a way that is not read: stored and deflated are."""

    code = "unsupported_compression"


class CorruptMember(InvalidRequest):
    """The file in the archive is damaged."""

    code = "corrupt_member"


class WrongPartSize(InvalidRequest):
    """A part carries exactly the items that its number says."""

    code = "wrong_part_size"


class IdempotencyKeyReused(InvalidRequest):
    """Another request was made with this Idempotency-Key."""

    code = "idempotency_key_reused"


class InvalidWebhook(InvalidRequest):
    """The webhook's address cannot be used."""

    code = "invalid_webhook"


class WebhooksDisabled(InvalidWebhook):
    """Webhooks are off here."""

    code = "webhooks_disabled"


class EmptyFile(InvalidRequest):
    """The file is empty."""

    code = "empty_file"


class UnsupportedFormat(InvalidRequest):
    """Not a JPEG, PNG, WebP, GIF, BMP or TIFF picture."""

    code = "unsupported_format"


class ImageTooLarge(InvalidRequest):
    """The file has more bytes than allowed."""

    code = "image_too_large"


class TooManyPixels(InvalidRequest):
    """The picture has more pixels than allowed."""

    code = "too_many_pixels"


class TruncatedImage(InvalidRequest):
    """The picture ends before its data does."""

    code = "truncated_image"


class DecodeFailed(InvalidRequest):
    """The picture cannot be decoded."""

    code = "decode_failed"


class DecodeTimeout(InvalidRequest):
    """Decoding the picture takes longer than allowed."""

    code = "decode_timeout"


class TooMuchMemory(InvalidRequest):
    """Decoding the picture takes more memory than allowed."""

    code = "too_much_memory"


class ImageExpired(ClassifierError):
    """The picture waited longer than pictures are kept."""

    code = "image_expired"


class DeadLetterNotFound(ClassifierError):
    """No such dead letter: it has been tried again, or its job has expired."""

    code = "dead_letter_not_found"


class WorkerLost(ClassifierError):
    """The worker died on this picture each time that it was tried."""

    code = "worker_lost"


class NotAuthenticated(ClassifierError):
    """This call needs an API key that is in use here."""

    code = "not_authenticated"


class JobNotFound(ClassifierError):
    """No such job: the id is unknown or its results have expired."""

    code = "job_not_found"


class NotAcceptable(ClassifierError):
    """This call has no answer of a kind that the client accepts."""

    code = "not_acceptable"


class JobClosed(ClassifierError):
    """The job takes no parts: it was cancelled, or was not opened for parts."""

    code = "job_closed"


class JobCancelled(ClassifierError):
    """The job was cancelled before this picture was classified."""

    code = "job_cancelled"


class PartConflict(ClassifierError):
    """Other pictures are stored as this part."""

    code = "part_conflict"


class ImagesNeeded(ClassifierError):
    """Pictures that were named by their digest are not known any more; send their bytes."""

    code = "images_needed"

    def __init__(self, indexes: Sequence[int]) -> None:
        super().__init__()
        self.indexes = indexes  #: Positions in the job.


class ModelNotReady(ClassifierError):
    """No worker has announced a model yet."""

    code = "model_not_ready"


class TryLater(ClassifierError):
    """Not now; try again."""

    code = "unavailable"

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 2) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(TryLater):
    """The service cannot take this now; try again."""

    code = "unavailable"


class Overloaded(TryLater):
    """The service has as much to do as it may hold; nothing of this request was kept."""

    code = "overloaded"


class RateLimited(TryLater):
    """This client asks more often than it may."""

    code = "rate_limited"


class ModelError(ClassifierError):
    """The model cannot be loaded."""

    code = "model_error"


class WeightsUnreachable(ModelError):
    """The network does not bring the weights; nothing else is known to be wrong."""

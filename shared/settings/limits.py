"""What a client may send, and how long results are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from shared.settings.types import Count, CountOrZero, Seconds


class LimitSettings(BaseSettings):
    # Input
    max_image_bytes: Count = 20 * 2**20
    """Largest picture, in bytes."""
    # A job is one transaction, and Redis has a second for it.
    max_request_bytes: Count = 64 * 2**20
    """Largest request body, in bytes."""
    max_job_images: Annotated[int, Field(ge=1, le=1_000_000)] = 500_000
    """Most pictures in a job that is uploaded in parts."""
    max_archive_bytes: Count = 2**30
    """Largest archive, in bytes. It is kept on disk while it is read."""
    max_archive_members: Count = 100_000
    """Most files and folders in an archive."""
    max_unpacked_bytes: Count = 4 * 2**30
    """Most bytes that an archive may unpack to."""
    max_archive_ratio: Count = 100
    """Most unpacked bytes for each packed byte of an archive. `MAX_REQUEST_BYTES` are always
    allowed."""
    max_archive_seconds: Seconds = 10
    """Processor time to check an archive, and a second more for each 10 MB of it. Usual ones take
    less than 2 s."""
    slow_upload_seconds: Seconds = 10
    """An upload that takes longer than this for 64 KiB is ended with 408."""
    slow_download_seconds: Seconds = 60
    """An answer is ended if the client reads nothing of it for this long."""
    max_image_pixels: Count = 50_000_000
    """Most pixels that are decoded of a picture. A JPEG is decoded at a half to an eighth of its
    size, so it may have more."""
    max_decode_seconds: Seconds = 3
    """Processor time to decode one picture. An ordinary one takes less than 2 s."""
    max_decode_bytes: Annotated[int, Field(ge=2**20)] = 400 * 2**20
    """Memory to decode one picture. A WebP takes the most: 16 to 20 bytes for each pixel."""

    max_open_jobs: Count = 100
    """Most jobs of one API key that wait for parts, or of one address if keys are off."""
    max_open_images: Count = 1_000_000
    """Most pictures in these jobs together. A single job may have `MAX_JOB_IMAGES`."""

    # Records
    result_ttl_seconds: Count = 86_400
    """How long a finished job can be read, and how long a picture may wait for a worker."""
    thumbnails: bool = True
    """Jobs may ask for a thumbnail of each picture, as the page does: 8 KiB each in Redis."""
    cache_ttl_seconds: CountOrZero = 86_400
    """How long the result cache answers for the same bytes; 0 turns the cache off."""

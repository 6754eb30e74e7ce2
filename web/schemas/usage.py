"""What the calling client has, and what it may have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.jobs import Lane
from web.schemas.schema import Schema


class UsageLimits(Schema):
    """Limits of the API key; null where it has none."""

    images: Annotated[int | None, Field(description="Outstanding, in both lanes together.")]
    bytes: Annotated[int | None, Field(description="Of outstanding images.")]
    images_per_day: int | None


class Usage(Schema):
    client: Annotated[str, Field(description="`key` and its name, or `address` and the address.")]
    outstanding_images: dict[Lane, int]
    bytes_held: Annotated[int, Field(description="Of the outstanding images.")]
    bytes_kept: Annotated[
        int, Field(description="Of records and results, about. They count until they expire.")
    ]
    images_today: Annotated[int, Field(description="Accepted since 00:00 UTC.")]
    day_ends_at: Annotated[float, Field(description="Unix seconds.")]
    limits: UsageLimits

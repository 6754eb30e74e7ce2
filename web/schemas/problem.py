"""An error as clients get it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from web.schemas.schema import Schema


class Problem(Schema):
    """RFC 9457, `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable: programs can rely on it.")]
    job_id: str | None = None
    indexes: Annotated[
        Sequence[int] | None,
        Field(description="With `images_needed`: items whose bytes must be sent."),
    ] = None

"""A place in a list of jobs, also as the text that a client sends for the next page."""

from __future__ import annotations

import math
from typing import NamedTuple

from shared.errors import InvalidRequest


class Position(NamedTuple):
    """A job is before it if it was made earlier."""

    made_at: float  #: Unix seconds.
    job_id: str

    @classmethod
    def of(cls, text: str) -> Position:
        """Raises InvalidRequest."""
        made_at, _, job_id = text.partition(":")
        try:
            seconds = float(made_at)
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):
            raise no_place()
        return cls(seconds, job_id)

    def __str__(self) -> str:
        return f"{self.made_at!r}:{self.job_id}"


def no_place() -> InvalidRequest:
    return InvalidRequest("before: send `next_before` of the page before.")

"""Pictures on which every worker died."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.jobs import Lane
from shared.records.overdue.dead_letters import DeadLetter
from web.schemas.schema import Request, Schema


class DeadLetterPath(Request):
    letter_id: Annotated[str, Field(description="An id from `GET /dead-letters`.")]


class DeadLetterSchema(Schema):
    """A picture on which every worker died."""

    id: str
    job_id: str
    index: Annotated[int, Field(description="Index of the item in its job.")]
    name: str
    lane: Lane
    at: Annotated[float, Field(description="When the service gave up on it; Unix seconds.")]

    @classmethod
    def of(cls, letter: DeadLetter) -> DeadLetterSchema:
        same = {name: getattr(letter, name) for name in cls.model_fields if name != "id"}
        return cls(id=letter.member, **same)


class DeadLetterList(Schema):
    dead_letters: list[DeadLetterSchema]

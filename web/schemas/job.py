"""A job as clients read it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.jobs import PART_SIZE, Job, JobState, Lane
from shared.records.load.estimate import Estimate
from web.schemas.schema import Request, Schema, Wait


class JobPath(Request):
    job_id: Annotated[str, Field(description="The id that `POST /jobs` answered.")]


class WaitQuery(Request):
    wait: Wait = None


class Counts(Schema):
    total: int
    received: Annotated[int, Field(description="Items whose part has arrived.")]
    queued: int
    succeeded: int
    failed: int
    cancelled: int
    cached: Annotated[int, Field(description="Succeeded items that the result cache answered.")]


class JobSchema(Schema):
    """A job's record. Times are Unix seconds."""

    id: str
    state: JobState
    lane: Lane
    top_k: int
    counts: Counts
    model_version: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: Annotated[float, Field(description="The job can be read at least until then.")]
    position: Annotated[
        int | None,
        Field(
            description="Images ahead of the job's first one, about. It is 0 from when a worker "
            "starts on the job, and null at the end."
        ),
    ]
    estimated_seconds: Annotated[
        float | None,
        Field(
            description="Estimate of the time until the job ends, at the lane's present speed. It "
            "is null at the end, and if the speed is not known."
        ),
    ]

    @classmethod
    def of(cls, job: Job, estimate: Estimate) -> JobSchema:
        seconds = estimate.seconds
        return cls(
            **job.public_fields(),
            position=estimate.position,
            estimated_seconds=None if seconds is None else round(seconds, 1),
        )


class OpenedJob(Schema):
    """A job that waits for its parts."""

    job: JobSchema
    part_size: int = PART_SIZE
    known: Annotated[
        list[int], Field(description="Indexes of the pictures that need no upload, by digest.")
    ]


class PartSchema(Schema):
    """A part that is stored."""

    job_id: str
    number: int
    items: int
    missing_parts: Annotated[
        int, Field(description="Parts of the job that are missing; 0 once it is complete.")
    ]


class MissingParts(Schema):
    """The parts that an interrupted upload still has to send."""

    total: Annotated[int, Field(description="Parts of the job.")]
    missing: Annotated[list[int], Field(description="Ascending; the first 10,000.")]

"""A job as clients read it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.jobs import Job, JobState, Lane
from shared.records.load.estimate import Estimate
from shared.records.webhooks.outbox import Delivery, DeliveryState
from web.schemas.schema import Request, Schema, Unsaid, Wait


class JobPath(Request):
    job_id: Annotated[str, Field(description="The id that `POST /jobs` answered.")]


class ItemPath(JobPath):
    index: Annotated[int, Field(ge=0, description="Of the item in its job, from 0.")]


class WaitQuery(Request):
    wait: Wait = None


class JobsQuery(Request):
    limit: Annotated[int, Field(ge=1, le=100, description="Most jobs of the page.")] = 20
    before: Annotated[
        str | Unsaid,
        Field(
            max_length=128,
            description="`next_before` of the page before, or the id of a job of the list.",
        ),
    ] = None


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
    min_score: Annotated[
        float,
        Field(description="A picture whose best label has a lower probability gets no label."),
    ]
    thumbnails: Annotated[bool, Field(description="Whether thumbnails of its pictures are kept.")]
    counts: Counts
    skipped: Annotated[
        dict[str, int],
        Field(description="Files of its archive that are no pictures by their names, by ending."),
    ]
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


class JobList(Schema):
    """Jobs of the client that asks, the newest first."""

    jobs: list[JobSchema]
    next_before: Annotated[
        str | None, Field(description="`before` of the next page; null on the last page.")
    ]


#: The content type of a part that is no form: a line of JSON, then the bytes of all pictures. The
#: type is our own, so that a lone picture or an archive is not taken for a part.
RAW_PART = "application/vnd.image-classifier.part"

#: The content types of a part, the best one first.
PART_TYPES = [RAW_PART, "multipart/form-data"]

PartTypes = Annotated[
    list[str],
    Field(description="Content types of a part that this service reads, the best one first."),
]


class OpenedJob(Schema):
    """A job that waits for its parts."""

    job: JobSchema
    part_size: Annotated[int, Field(description="Pictures of each part but the last.")]
    known: Annotated[
        list[int], Field(description="Indexes of the pictures that need no upload, by digest.")
    ]
    part_types: PartTypes = PART_TYPES


class WebhookTry(Schema):
    at: Annotated[float, Field(description="Unix seconds.")]
    status: Annotated[int | None, Field(description="Of the receiver's answer.")]
    error: Annotated[str | None, Field(description="Why there was no answer.")]


class Webhook(Schema):
    """The delivery of a job's webhook."""

    state: Annotated[
        DeliveryState,
        Field(
            description="`waiting` for the end of the job, `pending` until it is `delivered` or "
            "`given_up`; `unknown` if an earlier release did not note it."
        ),
    ]
    tries: Annotated[int, Field(description="That have begun.")]
    last_try: Annotated[WebhookTry | None, Field(description="The last try that has ended.")]
    next_try_at: Annotated[
        float | None,
        Field(description="Unix seconds; null during a try, and if no try follows."),
    ]

    @classmethod
    def of(cls, delivery: Delivery) -> Webhook:
        last = delivery.last
        return cls(
            state=delivery.state,
            tries=delivery.tries,
            last_try=last and WebhookTry(at=last.at, status=last.status, error=last.error),
            next_try_at=delivery.next_try_at,
        )


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
    part_types: PartTypes = PART_TYPES

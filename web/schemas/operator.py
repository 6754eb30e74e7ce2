"""What an operator reads and decides."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.jobs import Job, JobState, Lane
from shared.operation.lane_states import LaneState
from shared.operation.worker_reports import WorkerReport
from shared.records.listing.position import Position
from shared.records.load.backlog import Load
from shared.records.overdue.dead_letters import DeadLetter
from web.schemas.dead_letters import DeadLetterSchema
from web.schemas.job import JobSchema
from web.schemas.schema import Request, Schema, Unsaid

_Owner = Annotated[str, Field(description="The name of its API key; empty if keys were off.")]


class AllJobsQuery(Request):
    limit: Annotated[int, Field(ge=1, le=100, description="Most jobs of the page.")] = 20
    before: Annotated[
        str | Unsaid,
        Field(max_length=128, description="`next_before` of the page before."),
    ] = None
    state: Annotated[JobState | Unsaid, Field(description="Only jobs in this state.")] = None
    lane: Annotated[Lane | Unsaid, Field(description="Only jobs of this lane.")] = None
    owner: Annotated[
        str | Unsaid, Field(max_length=64, description="Only jobs of the API key with this name.")
    ] = None

    def position(self) -> Position | None:
        """The place where the page begins; None for the first page. Raises InvalidRequest."""
        return None if self.before is None else Position.of(self.before)

    def matches(self, job: Job) -> bool:
        return self.state in (None, job.state) and self.lane in (None, job.lane)


class OwnedJob(JobSchema):
    """A job, and the client that it belongs to."""

    owner: _Owner


class OwnedJobList(Schema):
    """Jobs of all clients, the newest first."""

    jobs: list[OwnedJob]
    next_before: Annotated[
        str | None, Field(description="`before` of the next page; null on the last page.")
    ]


class LanePath(Request):
    lane: Lane


class LaneChange(Request):
    state: LaneState
    reason: Annotated[
        str, Field(max_length=200, description="For others who read the state of the lane.")
    ] = ""


class LaneSchema(Schema):
    state: LaneState
    since: Annotated[
        float | None, Field(description="Unix seconds; null if the state was never changed.")
    ]
    by: Annotated[str, Field(description="The name of the API key that changed it.")]
    reason: str
    workers: Annotated[int, Field(description="Workers of the lane that live.")]
    outstanding_parts: int
    outstanding_images: int

    @classmethod
    def of(cls, load: Load, lane: Lane) -> LaneSchema:
        order = load.order(lane)
        return cls(
            state=order.state,
            since=order.since,
            by=order.by,
            reason=order.reason,
            workers=load.workers[lane],
            outstanding_parts=load.parts[lane],
            outstanding_images=load.images[lane],
        )


class LaneList(Schema):
    lanes: dict[Lane, LaneSchema]


class PurgeRequest(Request):
    made_before: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            strict=True,
            description="Only jobs that were made before; Unix seconds. Null means now.",
        ),
    ] = None


class Purged(Schema):
    cancelled: Annotated[int, Field(description="Jobs that this call has cancelled.")]
    more: Annotated[bool, Field(description="Whether jobs may be left. Then call again.")]
    made_before: Annotated[float, Field(description="For the next call.")]


class OwnedDeadLetter(DeadLetterSchema):
    owner: _Owner

    @classmethod
    def of(cls, letter: DeadLetter) -> OwnedDeadLetter:
        same = vars(DeadLetterSchema.of(letter))
        return cls(**same, owner=letter.owner)


class OwnedDeadLetterList(Schema):
    dead_letters: list[OwnedDeadLetter]


class WorkerSchema(Schema):
    """A worker, as it reported itself. Workers of an earlier release report only their name."""

    name: str
    lane: Lane
    seen_at: Annotated[float, Field(description="Last sign of life; Unix seconds.")]
    host: str | None
    process: Annotated[int | None, Field(description="Id of the main process on its host.")]
    started_at: Annotated[float | None, Field(description="Unix seconds.")]
    engine: str | None
    model: str | None
    model_version: Annotated[str | None, Field(description="Null until the model is loaded.")]
    pool_processes: int | None
    parts: Annotated[int | None, Field(description="In work at the last report.")]

    @classmethod
    def of(cls, report: WorkerReport) -> WorkerSchema:
        return cls(**{name: getattr(report, name) for name in cls.model_fields})


class WorkerList(Schema):
    workers: list[WorkerSchema]

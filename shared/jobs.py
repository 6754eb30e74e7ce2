"""The words of the service: lane, job, part, item, prediction. Plain data, no Redis."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

from pydantic_core import from_json

from shared.errors import ClassifierError

#: Images in a part: the unit of upload, of delivery (one Celery message) and of retry. Every part
#: of a job but its last carries exactly this many, so item i is found in part i // PART_SIZE.
PART_SIZE = 32

#: Predictions kept for every picture; a client asks for at most this many.
MAX_TOP_K = 10


class Lane(StrEnum):
    """One Celery queue, one worker deployment, one scaler each: bulk never starves a person."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


def new_job_id() -> str:
    """A random id. Without API keys, every client that knows the id may read the job."""
    return uuid.uuid4().hex


def parts_of(total: int) -> int:
    """Parts of a job of `total` images."""
    return -(-total // PART_SIZE)


def part_size(total: int, number: int) -> int:
    """Items in one part of a job of `total` images."""
    return min(PART_SIZE, total - number * PART_SIZE)


class JobState(StrEnum):
    RECEIVING = "receiving"  #: Open: parts are missing. Workers may be at those that are here.
    QUEUED = "queued"  #: All here; no worker has started on it.
    RUNNING = "running"  #: All here; a worker has started on one of its parts.
    COMPLETED = "completed"  #: Every item has succeeded or failed.
    CANCELLED = "cancelled"  #: Ended by its owner; what was done by then stays readable.

    @property
    def ended(self) -> bool:
        return self in (JobState.COMPLETED, JobState.CANCELLED)


class ItemState(StrEnum):
    QUEUED = "queued"  #: Not yet committed, or not yet here.
    SUCCEEDED = "succeeded"  #: Has predictions.
    FAILED = "failed"  #: Has an error with a code.
    CANCELLED = "cancelled"  #: Its job was cancelled first.


class Prediction(NamedTuple):
    class_id: int
    class_name: str
    probability: float


class PartRef(NamedTuple):
    """A part by name: all that travels in a Celery message."""

    job_id: str
    number: int
    images: int  #: Images still to be classified; a batch is sized by their sum.
    only: int | None = None  #: Just this position: a suspect image, which runs alone.

    @property
    def name(self) -> str:
        """What its names in `outstanding:<lane>` begin with, whole or split."""
        return f"{self.job_id}:{self.number}"

    @property
    def member(self) -> str:
        """Its name in the sorted set `outstanding:<lane>`."""
        whole = f"{self.name}:{self.images}"
        return whole if self.only is None else f"{whole}:{self.only}"

    @classmethod
    def from_member(cls, member: str) -> PartRef:
        job_id, *numbers = member.split(":")
        return cls(job_id, *map(int, numbers))

    @property
    def attempts_field(self) -> str:
        """Where its starts are counted, in the part's hash."""
        return "attempts" if self.only is None else f"attempts:{self.only}"


@dataclass(frozen=True, kw_only=True)
class ItemError:
    code: str  #: Stable; see shared.errors.
    message: str


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Where an item's time went, in milliseconds."""

    queue_ms: float  #: Accepted until its micro-batch was formed.
    preprocess_ms: float  #: Decoding and resizing this picture.
    inference_ms: float  #: The engine's run over this picture and those that it ran with.


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an item; written once and never changed."""

    state: ItemState
    predictions: tuple[Prediction, ...] = ()
    model_version: str | None = None
    cache_hit: bool = False
    durations: Durations | None = None  #: None where no worker was needed.
    error: ItemError | None = None

    @classmethod
    def failure(cls, error: ClassifierError) -> Outcome:
        return cls(state=ItemState.FAILED, error=ItemError(code=error.code, message=str(error)))

    def to_json(self) -> str:
        fields = dict(vars(self))
        fields["durations"] = self.durations and vars(self.durations)
        fields["error"] = self.error and vars(self.error)
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Outcome:
        fields = from_json(text)  # four times as fast as json.loads, and a result stream has many
        return cls(
            state=ItemState(fields["state"]),
            predictions=tuple(map(Prediction._make, fields["predictions"])),
            model_version=fields["model_version"],
            cache_hit=fields["cache_hit"],
            durations=fields["durations"] and Durations(**fields["durations"]),
            error=fields["error"] and ItemError(**fields["error"]),
        )


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """One picture as it was submitted: bytes to classify, or an outcome that is known already."""

    name: str
    digest: str  #: SHA-256 of the bytes, hex.
    data: bytes
    custom_id: str | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """Pictures as they were submitted."""

    id: str
    lane: Lane
    top_k: int
    items: Sequence[NewItem]
    owner: str = ""  #: Name of the key that submits it; empty where keys are off.
    trace: str = ""  #: `traceparent` of the request that submits it.
    webhook: str | None = None  #: Address that is told of its end.

    @cached_property
    def pending(self) -> int:
        """Items that need a worker."""
        return sum(item.outcome is None for item in self.items)

    def pending_bytes(self, part: int) -> int:
        """Bytes of a part's items that need a worker."""
        items = self.items[part * PART_SIZE : (part + 1) * PART_SIZE]
        return sum(len(item.data) for item in items if item.outcome is None)


@dataclass(frozen=True, kw_only=True)
class OpenJob:
    """A job whose pictures are still to come, in parts."""

    id: str
    lane: Lane
    top_k: int
    total: int
    owner: str = ""  #: Name of the key that submits it; empty where keys are off.
    webhook: str | None = None  #: Address that is told of its end.


@dataclass(frozen=True, kw_only=True)
class Item:
    """One picture of a job, as a client reads it."""

    index: int
    name: str  #: Empty while its part is missing.
    custom_id: str | None
    outcome: Outcome | None  #: None while it waits, and for ever where the job was cancelled.
    state: ItemState


@dataclass(frozen=True, kw_only=True)
class Job:
    """Pictures submitted together. Times are Unix seconds by Redis's clock."""

    id: str
    owner: str  #: Name of the key that submitted it; empty where keys were off.
    lane: Lane
    state: JobState
    top_k: int
    total: int
    opened: bool  #: For parts; otherwise all of it came at once.
    received: int  #: Items that are here.
    succeeded: int
    failed: int
    cancelled: int
    cached: int  #: Of those succeeded, answered from the result cache.
    model_version: str | None  #: Of the newest committed item.
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float
    webhook: str | None = None  #: Address that is told of its end.
    # In a lane whose jobs take turns, once it has a part that waited for one:
    first_turn: int | None = None  #: Of its first part.
    next_turn: int | None = None  #: After its last part.
    first_due: float | None = None  #: Deadline of its first part, once that was queued.

    @property
    def queued(self) -> int:
        return self.total - self.succeeded - self.failed - self.cancelled

    def public_fields(self) -> dict[str, Any]:
        """The job as its owner reads it, without the estimate; values for JSON."""
        fields = {name: getattr(self, name) for name in _PUBLIC_FIELDS}
        return fields | {"counts": {name: getattr(self, name) for name in _COUNTS}}


_PUBLIC_FIELDS = (
    *("id", "state", "lane", "top_k", "model_version"),
    *("created_at", "started_at", "finished_at", "expires_at"),
)
_COUNTS = ("total", "received", "queued", "succeeded", "failed", "cancelled", "cached")

"""The terms of the service: lane, job, part, item, outcome. Plain data, without Redis.

All times are Unix seconds by the clock of Redis (shared.clock).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

from pydantic_core import from_json

from shared.errors import ClassifierError
from shared.known_fields import known_fields

#: Images in a part, which is the unit of upload, of delivery (one Celery message) and of retry.
#: Each part of a job except the last has exactly this many, so item i is in part i // PART_SIZE.
PART_SIZE = 32

#: Predictions that are kept for each picture. A client can ask for at most this many.
MAX_TOP_K = 10


class Lane(StrEnum):
    """A lane has its own queue, workers and scaler, so bulk work never delays interactive work."""

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
    RECEIVING = "receiving"  #: Parts are missing. Workers may have started on the others.
    QUEUED = "queued"  #: All parts are here. No worker has started.
    RUNNING = "running"  #: All parts are here. A worker has started on one of them.
    COMPLETED = "completed"  #: Every item has succeeded or failed.
    CANCELLED = "cancelled"  #: The owner has ended it. Finished items can still be read.

    @property
    def ended(self) -> bool:
        return self in (JobState.COMPLETED, JobState.CANCELLED)


class ItemState(StrEnum):
    QUEUED = "queued"  #: It has no outcome yet, or its part is missing.
    SUCCEEDED = "succeeded"  #: It has predictions.
    FAILED = "failed"  #: It has an error with a code.
    CANCELLED = "cancelled"  #: Its job was cancelled before it had an outcome.


class Prediction(NamedTuple):
    class_id: int
    class_name: str
    probability: float


class PartRef(NamedTuple):
    """The name of a part. A Celery message carries nothing else."""

    job_id: str
    number: int
    images: int  #: Images without an outcome. Their sum is the size of a batch.
    only: int | None = None  #: Position of a suspect image that runs alone; None: the whole part.

    @property
    def name(self) -> str:
        """The beginning of all its names in `outstanding:<lane>`, whole or split."""
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

    @classmethod
    def from_message(cls, values: Sequence[Any]) -> PartRef:
        """From the list that a message carries. A newer release may have added values."""
        return cls(*values[: len(cls._fields)])

    @property
    def attempts_field(self) -> str:
        """The field of the part's hash that counts its starts."""
        return "attempts" if self.only is None else f"attempts:{self.only}"


@dataclass(frozen=True, kw_only=True)
class ItemError:
    code: str  #: Stable; see shared.errors.
    message: str


@dataclass(frozen=True, kw_only=True)
class Durations:
    """How long each stage of an item took, in milliseconds."""

    queue_ms: float  #: From its acceptance until its micro-batch was formed.
    preprocess_ms: float  #: To decode and resize this picture.
    inference_ms: float  #: To run the engine over this picture and the others of its run.


class Verdict(NamedTuple):
    """What the predictions of a picture say, by the thresholds of the model and of its job."""

    label: str | None  #: The first of `labels`; None if there is none.
    below_threshold: bool  #: Whether there are predictions, and none reaches its threshold.
    labels: tuple[str, ...]  #: Those that hold. Only some models may give more than one.


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The predictions of an item, or its error. It is written once and never changed."""

    state: ItemState
    predictions: tuple[Prediction, ...] = ()
    model_version: str | None = None
    cache_hit: bool = False
    durations: Durations | None = None  #: None if no worker was needed.
    error: ItemError | None = None
    #: So many of the predictions, from the first one on, are labels that reach the thresholds of
    #: the model. None: the model has no thresholds, and the first one is the label.
    reaching: int | None = None
    embedding: bytes = b""  #: float16, little-endian; empty unless the job asks. Not part of JSON.

    def verdict(self, min_score: float) -> Verdict:
        """Decided whenever a result is read, so that records and the cache have raw scores."""
        reaching = self.predictions[: 1 if self.reaching is None else self.reaching]
        labels = tuple(each.class_name for each in reaching if each.probability >= min_score)
        return Verdict(labels[0] if labels else None, bool(self.predictions) and not labels, labels)

    @classmethod
    def failure(cls, error: ClassifierError) -> Outcome:
        return cls(state=ItemState.FAILED, error=ItemError(code=error.code, message=str(error)))

    def to_json(self) -> str:
        fields = dict(vars(self))
        fields["durations"] = self.durations and vars(self.durations)
        fields["error"] = self.error and vars(self.error)
        del fields["embedding"]
        if self.reaching is None:
            del fields["reaching"]
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Outcome:
        fields = from_json(text)  # four times as fast as json.loads; a result stream has many
        durations, error = fields["durations"], fields["error"]
        return cls(
            state=ItemState(fields["state"]),
            predictions=tuple(Prediction(*each[:3]) for each in fields["predictions"]),
            model_version=fields["model_version"],
            cache_hit=fields["cache_hit"],
            durations=Durations(**known_fields(Durations, durations)) if durations else None,
            error=ItemError(**known_fields(ItemError, error)) if error else None,
            reaching=fields.get("reaching"),
        )


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """One submitted picture: bytes to classify, or an outcome if no worker is needed."""

    name: str
    digest: str  #: SHA-256 of the bytes, hex.
    data: bytes
    custom_id: str | None = None
    outcome: Outcome | None = None
    stored: int = 0  #: Bytes of a picture that is in Redis already; `data` is empty then.
    sent: bool = False  #: Whether the client sent the bytes, also if `data` is empty.

    @property
    def size(self) -> int:
        return self.stored or len(self.data)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What a client, or its API key, may choose for a job."""

    client: str = ""  #: The client that sends it: it counts in this client's account.
    min_score: float = 0  #: A picture whose best label has a lower probability gets no label.
    weight: int = 1  #: Parts that the client gets in a round.
    thumbnails: bool = False  #: Whether workers keep a thumbnail of each picture.
    embeddings: int = 0  #: Numbers of the embedding that each picture gets; 0: none is asked for.
    webhook: str | None = None  #: Address that is notified of its end.


@dataclass(frozen=True, kw_only=True)
class NewJob(JobOptions):
    """Pictures that were submitted together."""

    id: str
    lane: Lane
    top_k: int
    items: Sequence[NewItem]
    owner: str = ""  #: Name of the API key; empty if keys are off.
    trace: str = ""  #: `traceparent` of the request that submits it.
    listed: bool = True  #: Whether it is in the list of its owner's jobs.
    model_version: str = ""  #: The version that will answer it; empty: that of its first worker.

    @cached_property
    def pending(self) -> int:
        return sum(item.outcome is None for item in self.items)

    def pending_bytes(self, part: int) -> int:
        """Bytes of a part's items that need a worker."""
        items = self.items[part * PART_SIZE : (part + 1) * PART_SIZE]
        return sum(item.size for item in items if item.outcome is None)


@dataclass(frozen=True, kw_only=True)
class OpenJob(JobOptions):
    """A job whose pictures will come in parts."""

    id: str
    lane: Lane
    top_k: int
    total: int
    owner: str = ""  #: Name of the API key; empty if keys are off.
    model_version: str = ""  #: As in NewJob.
    skipped: Mapping[str, int] = field(default_factory=dict)  #: Files of its archive, by ending.


@dataclass(frozen=True, kw_only=True)
class Item:
    """One picture of a job, as a client reads it."""

    index: int
    name: str  #: Empty while its part is missing.
    custom_id: str | None
    outcome: Outcome | None  #: None while it waits. It stays None if the job is cancelled.
    state: ItemState
    min_score: float = 0  #: That of its job.


@dataclass(frozen=True, kw_only=True)
class Job(JobOptions):
    """The record of a job."""

    id: str
    owner: str  #: Name of the API key; empty if keys were off.
    lane: Lane
    state: JobState
    top_k: int
    total: int
    opened: bool  #: Whether it takes parts. Otherwise it was submitted in one request.
    received: int  #: Items whose part is here.
    succeeded: int
    failed: int
    cancelled: int
    cached: int  #: Succeeded items that the result cache answered.
    model_version: str | None  #: The one that it was accepted for, or that of its first worker.
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float
    skipped: Mapping[str, int] = field(default_factory=dict)  #: Files of its archive, by ending.
    first_round: int | None = None  #: That of its first part which waited, among its client's.
    next_round: int | None = None  #: The earliest round of its next part.
    first_due: float | None = None  #: Deadline of its first part, once that was queued.

    @property
    def queued(self) -> int:
        return self.total - self.succeeded - self.failed - self.cancelled

    def public_fields(self) -> dict[str, Any]:
        """The job as its owner reads it, without the estimate; values for JSON."""
        fields = {name: getattr(self, name) for name in _PUBLIC_FIELDS}
        return fields | {"counts": {name: getattr(self, name) for name in _COUNTS}}


_PUBLIC_FIELDS = (
    *("id", "state", "lane", "top_k", "min_score", "thumbnails", "model_version", "skipped"),
    *("created_at", "started_at", "finished_at", "expires_at"),
)
_COUNTS = ("total", "received", "queued", "succeeded", "failed", "cancelled", "cached")

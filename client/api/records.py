"""What the service answers, as frozen dataclasses. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self


class _Record:
    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """From JSON. Fields that this version does not know are left out."""
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: value for name, value in answer.items() if name in known})


@dataclass(frozen=True)
class Prediction(_Record):
    class_id: int
    class_name: str
    probability: float


@dataclass(frozen=True)
class Durations(_Record):
    """Where an item's time went, in milliseconds."""

    queue_ms: float  #: Accepted until its micro-batch was formed.
    preprocess_ms: float  #: Decoding and resizing the picture.
    inference_ms: float  #: The model, over the whole micro-batch.


@dataclass(frozen=True)
class ItemError(_Record):
    code: str  #: Stable; branch on this.
    message: str


@dataclass(frozen=True, kw_only=True)
class _Outcome(_Record):
    predictions: tuple[Prediction, ...] = ()  #: Best first.
    model_version: str | None = None
    cache_hit: bool = False
    durations: Durations | None = None  #: None where no worker was needed.

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        durations = answer.get("durations")
        return super().of(
            dict(answer)
            | {
                "predictions": tuple(map(Prediction.of, answer.get("predictions", ()))),
                "durations": durations and Durations.of(durations),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Classification(_Outcome):
    """The answer to one picture."""

    job_id: str
    name: str

    @property
    def label(self) -> str:
        return self.predictions[0].class_name


@dataclass(frozen=True, kw_only=True)
class Item(_Outcome):
    """One picture of a job."""

    index: int
    name: str
    custom_id: str | None = None
    state: str  #: queued, succeeded, failed or cancelled.
    error: ItemError | None = None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        error = answer.get("error")
        return super().of(dict(answer) | {"error": error and ItemError.of(error)})


@dataclass(frozen=True, kw_only=True)
class Counts(_Record):
    """Images of a job."""

    total: int
    queued: int
    succeeded: int
    failed: int
    cancelled: int = 0
    cached: int = 0  #: Of the succeeded, answered from what the service knew.
    received: int | None = None  #: Whose part has arrived.


@dataclass(frozen=True, kw_only=True)
class JobStatus(_Record):
    id: str
    state: str  #: receiving, queued, running, completed or cancelled.
    lane: str
    top_k: int
    counts: Counts
    model_version: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float  #: Readable at least until then.
    position: int | None = None  #: Images ahead of its first that waits.
    estimated_seconds: float | None = None  #: Until it ends.

    @property
    def ended(self) -> bool:
        return self.state in ("completed", "cancelled")

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        return super().of(dict(answer) | {"counts": Counts.of(answer["counts"])})


@dataclass(frozen=True, kw_only=True)
class ModelInfo(_Record):
    name: str
    version: str  #: Stamped on every result.
    weights: str
    weights_digest: str
    engine: str
    classes: int
    input_size: int  #: Side of the cropped square, in pixels.
    notice: str = ""  #: To be shown with its answers; mostly empty.


@dataclass(frozen=True, kw_only=True)
class DeadLetter(_Record):
    """A picture that no worker survived."""

    id: str
    job_id: str
    index: int
    name: str
    lane: str
    at: float  #: When it was given up on.

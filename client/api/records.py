"""The answers of the service as frozen dataclasses. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from .embedding import decoded
from .types import checked, tests_of


class _Record:
    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """From JSON. Fields that this version does not know are ignored.

        Raises TypeError if a field is missing or has a value of another type.
        """
        tests = tests_of(cls)  # type: ignore[arg-type]
        known = {name: value for name, value in answer.items() if name in tests}
        for name, value in known.items():
            if not tests[name](value):
                raise TypeError(f"{name}: {value!r}")
        return cls(**known)


@dataclass(frozen=True)
class Prediction(_Record):
    class_id: int
    class_name: str
    probability: float


@dataclass(frozen=True)
class Durations(_Record):
    """The time that an item took, in milliseconds."""

    queue_ms: float  #: From acceptance until its micro-batch was formed.
    preprocess_ms: float  #: Decoding and resizing the picture.
    inference_ms: float  #: The model, for the whole micro-batch.


@dataclass(frozen=True)
class ItemError(_Record):
    code: str  #: Stable; branch on this.
    message: str


@dataclass(frozen=True, kw_only=True)
class _Outcome(_Record):
    predictions: tuple[Prediction, ...] = ()  #: Most probable first.
    model_version: str | None = None
    cache_hit: bool = False
    durations: Durations | None = None  #: None if no worker was needed.
    #: Whether it is classified and no label reaches its threshold: the model's and `min_score`.
    below_threshold: bool = False
    #: The labels that reach their threshold, most probable first. Most models give at most one.
    labels: tuple[str, ...] = ()
    #: Numbers that are close for similar pictures; empty unless `embeddings` asks for them.
    embedding: tuple[float, ...] = ()

    @property
    def label(self) -> str:
        """The most probable label; empty if there is none, or if none reaches its threshold."""
        return self.labels[0] if self.labels else ""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        durations = answer.get("durations")
        predictions = tuple(map(Prediction.of, checked(list, answer.get("predictions", []))))
        # Services of earlier releases do not send the labels, and know no threshold.
        best = () if answer.get("below_threshold") else predictions[:1]
        labels = answer.get("labels", [each.class_name for each in best])
        return super().of(
            dict(answer)
            | {
                "predictions": predictions,
                "labels": tuple(checked(list, labels)),
                "embedding": decoded(answer.get("embedding") or ""),
                "durations": durations and Durations.of(durations),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Classification(_Outcome):
    """The labels of one picture."""

    job_id: str
    name: str


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
    """Numbers of images of a job."""

    total: int
    queued: int
    succeeded: int
    failed: int
    cancelled: int = 0
    cached: int = 0  #: Succeeded from the result cache, without a worker.
    received: int | None = None  #: Images whose part has arrived.


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
    expires_at: float  #: The job is readable at least until then.
    position: int | None = None  #: Images ahead of the job's first waiting image.
    estimated_seconds: float | None = None  #: Until the job ends.
    min_score: float = 0  #: A picture whose best label has a lower probability gets no label.

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
    input_size: int  #: Side of the square that the model sees, in pixels.
    precision: str = ""  #: `fp32`, `bf16` or `fp16`.
    activation: str = ""  #: `softmax`, `sigmoid` or `none`.
    threshold: float | None = None  #: The score that a label needs, unless `thresholds` has it.
    thresholds: Mapping[str, float] = field(default_factory=dict)  #: By label.
    embedding: int = 0  #: Numbers of the embedding that it can give of a picture; 0: none.
    notice: str = ""  #: Show it beside the model's answers. Usually empty.


@dataclass(frozen=True, kw_only=True)
class DeadLetter(_Record):
    """A picture that made every worker die."""

    id: str
    job_id: str
    index: int
    name: str
    lane: str
    at: float  #: When the service gave up.


@dataclass(frozen=True, kw_only=True)
class UsageLimits(_Record):
    """Limits of the API key; None where it has none."""

    images: int | None = None
    bytes: int | None = None
    images_per_day: int | None = None


@dataclass(frozen=True, kw_only=True)
class Usage(_Record):
    """What the calling client has, and what it may have."""

    client: str  #: `key` and its name, or `address` and the address.
    outstanding_images: Mapping[str, int]  #: By lane.
    bytes_held: int  #: Of the outstanding images.
    bytes_kept: int  #: Of records and results, about.
    images_today: int  #: Accepted since 00:00 UTC.
    day_ends_at: float
    limits: UsageLimits

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        return super().of(dict(answer) | {"limits": UsageLimits.of(answer["limits"])})

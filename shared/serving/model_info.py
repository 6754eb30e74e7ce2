"""The models that workers have loaded, as they announce them in Redis for all other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from redis import Redis

from shared import keys
from shared.errors import ModelNotReady
from shared.known_fields import known_fields

#: A model and its labels are readable for so long after the last sign of life of a worker that has
#: them.
TTL_SECONDS = 24 * 3600

#: The fields of an announcement in release 0.1.0.
_FIRST_FIELDS = (
    *("name", "version", "weights", "weights_digest"),
    *("engine", "classes", "input_size", "notice"),
)


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    name: str  #: torchvision's name; with an addition if the weights are not the usual ones.
    version: str  #: Of name, weights, preprocessing, labels and precision; part of every result.
    weights: str  #: The name of the file, or the value of MODEL_WEIGHTS.
    weights_digest: str  #: SHA-256, hex.
    engine: str
    classes: int
    input_size: int  #: Side of the square that each picture is cropped to, in pixels.
    precision: str = ""  #: `fp32`, `bf16` or `fp16`; empty from workers of an earlier release.
    activation: str = ""  #: `softmax`, `sigmoid` or `none`; empty from earlier releases.
    threshold: float | None = None  #: The score that a label needs, unless `thresholds` has it.
    thresholds: Mapping[str, float] = field(default_factory=dict)  #: By label.
    embedding: int = 0  #: Numbers of the embedding that a job may ask for; 0: it has none.
    notice: str = ""  #: A remark to show with the results; mostly empty.


def announce(redis: Redis, info: ModelInfo) -> None:
    """Each pool process calls this when it has loaded its engine.

    The first model becomes the current one. Another one does not replace it: see model_versions.
    """
    pipe = redis.pipeline(transaction=True)
    pipe.set(keys.model(info.version), to_json(info), ex=TTL_SECONDS)
    pipe.set(keys.MODEL, as_current(to_json(info)), nx=True)
    pipe.execute()


def announce_labels(redis: Redis, version: str, labels: Sequence[str]) -> None:
    """Store the labels of a model, by class id. A worker calls this before `announce`."""
    redis.set(keys.labels(version), labels_to_json(labels), ex=TTL_SECONDS)


def labels_to_json(labels: Sequence[str]) -> str:
    return json.dumps(labels, ensure_ascii=False, separators=(",", ":"))


def read_labels(redis: Redis, version: str) -> list[str]:
    """The labels of a model, by class id.

    Raises ModelNotReady if no worker has announced them. Workers of an older release do not.
    """
    text = redis.get(keys.labels(version))
    if text is None:
        raise ModelNotReady(
            "No worker has announced the labels of this model. Workers of an earlier release do"
            " not announce them."
        )
    labels: list[str] = json.loads(text)
    return labels


def to_json(info: ModelInfo) -> str:
    return json.dumps(asdict(info))


def as_current(announcement: bytes | str) -> str:
    """An announcement as the record of the current model has it.

    Web of release 0.1.0 reads this record and accepts no other fields. The others are in the record
    of the version.
    """
    fields = json.loads(announcement)
    return json.dumps({name: fields[name] for name in _FIRST_FIELDS if name in fields})


def version_of(announcement: bytes | str | None) -> str:
    """The version that an announcement names; empty without one."""
    return str(json.loads(announcement)["version"]) if announcement else ""


def read(redis: Redis) -> ModelInfo:
    """The current model. Raises ModelNotReady if no worker has announced one."""
    return whole(redis, redis.get(keys.MODEL))


def whole(redis: Redis, current: bytes | str | None) -> ModelInfo:
    """The current model with all its fields, from its record. Raises ModelNotReady without one."""
    return from_json(redis.get(keys.model(version_of(current))) or current)


def from_json(text: bytes | str | None) -> ModelInfo:
    """Raises ModelNotReady if no worker has announced a model."""
    if text is None:
        raise ModelNotReady
    return ModelInfo(**known_fields(ModelInfo, json.loads(text)))

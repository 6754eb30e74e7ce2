"""The model that the workers have loaded. They announce it in Redis for all other programs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from redis import Redis

from shared import keys
from shared.errors import ModelNotReady
from shared.known_fields import known_fields

#: A new model version is noticed after this time. To ask at each request would cost a round trip.
_FRESH_SECONDS = 1.0


#: Labels are readable for so long after the last sign of life of a worker that has their model.
LABELS_TTL_SECONDS = 24 * 3600


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
    notice: str = ""  #: A remark to show with the results; mostly empty.


def announce(redis: Redis, info: ModelInfo) -> None:
    """Each pool process calls this when it has loaded its engine."""
    redis.set(keys.MODEL, to_json(info))


def announce_labels(redis: Redis, version: str, labels: Sequence[str]) -> None:
    """Store the labels of a model, by class id. A worker calls this before `announce`."""
    redis.set(keys.labels(version), labels_to_json(labels), ex=LABELS_TTL_SECONDS)


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


def forget(redis: Redis) -> None:
    """Remove the announcement. The caller knows that no worker is running."""
    redis.delete(keys.MODEL)


def read(redis: Redis) -> ModelInfo:
    """The announced model. Raises ModelNotReady if no worker has announced one."""
    text = redis.get(keys.MODEL)
    if text is None:
        raise ModelNotReady
    return ModelInfo(**known_fields(ModelInfo, json.loads(text)))


class CurrentModel:
    """The announced model, read about once a second."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._info: ModelInfo | None = None
        self._read_at = 0.0

    def get(self) -> ModelInfo:
        """Raises ModelNotReady, and RedisError in an outage."""
        if self._info is None or time.monotonic() - self._read_at > _FRESH_SECONDS:
            self._info = read(self._redis)
            self._read_at = time.monotonic()
        return self._info

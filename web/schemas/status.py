"""How the service is: its model, its lanes, its health."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.jobs import Lane
from shared.operation.lane_states import LaneState
from shared.serving.model_info import ModelInfo
from web.schemas.schema import Schema


class ModelSchema(Schema):
    name: str
    version: Annotated[str, Field(description="Stands in every result.")]
    weights: Annotated[str, Field(description="A file's name, or the value of MODEL_WEIGHTS.")]
    weights_digest: Annotated[str, Field(description="SHA-256, hex.")]
    engine: Annotated[str, Field(description="`onnxruntime`, `openvino` or `torch`.")]
    precision: Annotated[
        str,
        Field(
            description="Of the numbers that it computes with: `fp32`, `bf16` or `fp16`. Empty if "
            "the worker is of an earlier release."
        ),
    ]
    classes: int
    input_size: Annotated[int, Field(description="Side of the cropped square, in pixels.")]
    activation: Annotated[
        str,
        Field(
            description="What makes the scores: `softmax`, `sigmoid` or `none`. Empty if the "
            "worker is of an earlier release."
        ),
    ]
    threshold: Annotated[
        float | None,
        Field(
            description="The score that a label needs, unless `thresholds` names it. Null: the "
            "most probable label is always given."
        ),
    ]
    thresholds: Annotated[dict[str, float], Field(description="The same for single labels.")]
    embedding: Annotated[
        int,
        Field(description="Numbers of the embedding that a job may ask for; 0 if it has none."),
    ]
    notice: Annotated[str, Field(description="Show it beside the model's answers; mostly empty.")]

    @classmethod
    def of(cls, info: ModelInfo) -> ModelSchema:
        return cls(**vars(info))


class Label(Schema):
    id: Annotated[int, Field(description="The `class_id` of predictions.")]
    name: Annotated[str, Field(description="The `class_name` of predictions.")]


class LabelList(Schema):
    """All labels that the model can give, in the order of their ids."""

    model_version: str
    labels: list[Label]


class Status(Schema):
    status: str


class Readiness(Status):
    engine: Annotated[
        str | None, Field(description="Of the model; null before a worker has announced one.")
    ] = None
    precision: Annotated[str | None, Field(description="As in `/model/info`.")] = None


class LaneHealth(Schema):
    state: Annotated[LaneState, Field(description="What the operator wants of the lane.")]
    workers: Annotated[int, Field(description="Workers that accept parts now.")]
    outstanding_parts: int
    outstanding_images: int
    images_per_second: Annotated[float, Field(description="Committed in the last seconds.")]
    estimated_seconds: Annotated[
        float | None,
        Field(description="Until the lane is empty; null if it has images and none is committed."),
    ]


class MemoryHealth(Schema):
    used_bytes: Annotated[int, Field(description="Of Redis, for everything.")]
    limit_bytes: Annotated[int, Field(description="Redis's `maxmemory`; 0 if it has none.")]
    picture_bytes: Annotated[int, Field(description="Of the pictures that are not done yet.")]


class Health(Schema):
    status: Annotated[
        str,
        Field(
            description="`ok`, `no model yet`, `redis is full`: no new pictures, or the lanes that "
            "the operator has paused, drained or closed."
        ),
    ]
    model_version: str | None
    memory: MemoryHealth
    lanes: dict[Lane, LaneHealth]

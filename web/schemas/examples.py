"""Examples for the OpenAPI document. They are built from the schema objects, so they are valid."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pydantic import BaseModel

from shared.jobs import PART_SIZE, ItemState, JobState, Lane
from shared.operation.lane_states import LaneState
from shared.records.webhooks.outbox import DeliveryState
from web.schemas.dead_letters import DeadLetterList, DeadLetterSchema
from web.schemas.job import (
    Counts,
    JobList,
    JobSchema,
    MissingParts,
    OpenedJob,
    PartSchema,
    Webhook,
    WebhookTry,
)
from web.schemas.results import (
    Classification,
    Durations,
    ItemError,
    ItemSchema,
    Page,
    Prediction,
)
from web.schemas.status import (
    Health,
    Label,
    LabelList,
    LaneHealth,
    MemoryHealth,
    ModelSchema,
    Status,
)
from web.schemas.submission import OpenRequest
from web.schemas.usage import Usage, UsageLimits

_JSON = "application/json"
_VERSION = "mobilenet_v3_large-5c1a4163aaaa-p1"
_JOB, _PICTURE = "f00dfeed0ff1ce5ba5eba11c0ffee000", "8c1f0de1ca7e5ba5eba11c0ffee00000"
_NOON = 1_795_000_000.0


class Example(NamedTuple):
    """An example of one answer, or of a request."""

    name: str
    summary: str
    status: int | None  #: None for the request.
    value: Any
    kind: str = _JSON


def _answer(name: str, summary: str, body: BaseModel, status: int = 200) -> Example:
    return Example(name, summary, status, json.loads(body.model_dump_json()))


def _job(state: JobState, total: int, *, received: int, succeeded: int, failed: int) -> JobSchema:
    ended = state.ended
    counts = Counts(
        total=total,
        received=received,
        queued=total - succeeded - failed,
        succeeded=succeeded,
        failed=failed,
        cancelled=0,
        cached=0,
    )
    if state is JobState.CANCELLED:
        counts = counts.model_copy(update={"queued": 0, "cancelled": counts.queued})
    return JobSchema(
        id=_JOB,
        state=state,
        lane=Lane.BULK,
        top_k=1,
        min_score=0,
        thumbnails=False,
        skipped={},
        counts=counts,
        model_version=_VERSION if succeeded else None,
        created_at=_NOON,
        started_at=_NOON + 1 if succeeded else None,
        finished_at=_NOON + 9 if ended else None,
        expires_at=_NOON + 86_400,
        position=None if ended else 0,
        estimated_seconds=None if ended else 7.5,
    )


_OPENED = _job(JobState.RECEIVING, 33, received=0, succeeded=0, failed=0)
_QUEUED = _job(JobState.QUEUED, 2, received=2, succeeded=0, failed=0)
_COMPLETED = _job(JobState.COMPLETED, 2, received=2, succeeded=1, failed=1)
_CANCELLED = _job(JobState.CANCELLED, 33, received=1, succeeded=1, failed=0)

_PEACOCK = [Prediction(class_id=84, class_name="peacock", probability=0.91)]
_DURATIONS = Durations(queue_ms=2.4, preprocess_ms=2.9, inference_ms=7.1)
_ITEMS = [
    ItemSchema(
        index=0,
        name="picture.jpg",
        custom_id="a",
        state=ItemState.SUCCEEDED,
        label="peacock",
        labels=["peacock"],
        below_threshold=False,
        predictions=_PEACOCK,
        model_version=_VERSION,
        cache_hit=False,
        durations=_DURATIONS,
        error=None,
    ),
    ItemSchema(
        index=1,
        name="empty.jpg",
        custom_id="b",
        state=ItemState.FAILED,
        label=None,
        labels=[],
        below_threshold=False,
        predictions=[],
        model_version=None,
        cache_hit=False,
        durations=None,
        error=ItemError(code="empty_file", message="The file is empty. Send a picture."),
    ),
]
_LINES = "".join(item.model_dump_json() + "\n" for item in _ITEMS)
_IDLE = LaneHealth(
    state=LaneState.OPEN,
    workers=1,
    outstanding_parts=0,
    outstanding_images=0,
    images_per_second=0,
    estimated_seconds=0,
)

#: By operation id.
EXAMPLES: dict[str, list[Example]] = {
    "getThumbnail": [],  # bytes
    "classify": [
        _answer(
            "peacock",
            "A picture of a peacock, classified",
            Classification(
                job_id=_PICTURE,
                name="picture.jpg",
                label="peacock",
                labels=["peacock"],
                below_threshold=False,
                predictions=_PEACOCK,
                model_version=_VERSION,
                cache_hit=False,
                durations=_DURATIONS,
            ),
        ),
        _answer("waiting", "The wait ended before the picture was classified", _QUEUED, 202),
    ],
    "createJob": [
        Example(
            "open",
            "Open a job of 33 pictures, which follow in two parts",
            None,
            OpenRequest(total=33, top_k=1).model_dump(exclude_none=True),
        ),
        _answer(
            "opened",
            "The job waits for its parts",
            OpenedJob(job=_OPENED, part_size=PART_SIZE, known=[]),
            201,
        ),
        _answer("accepted", "Two pictures are stored", _QUEUED, 202),
    ],
    "listJobs": [
        _answer("two", "Two jobs", JobList(jobs=[_QUEUED, _COMPLETED], next_before=None)),
    ],
    "getJob": [_answer("completed", "One picture failed", _COMPLETED)],
    "cancelJob": [_answer("cancelled", "One picture was already classified", _CANCELLED)],
    "getWebhook": [
        _answer(
            "pending",
            "The receiver was away, and will be tried again",
            Webhook(
                state=DeliveryState.PENDING,
                tries=1,
                last_try=WebhookTry(at=_NOON + 9, status=503, error=None),
                next_try_at=_NOON + 14,
            ),
        )
    ],
    "putPart": [
        _answer(
            "stored",
            "The part is new",
            PartSchema(job_id=_JOB, number=1, items=1, missing_parts=1),
            201,
        )
    ],
    "listMissingParts": [
        _answer("first", "The first part is missing", MissingParts(total=2, missing=[0])),
    ],
    "getResults": [
        _answer("page", "A page", Page(job=_COMPLETED, items=_ITEMS, next_offset=None)),
        Example("lines", "JSON Lines", 200, _LINES, "application/jsonl"),
    ],
    "followJob": [
        Example(
            "end",
            "The end of a job",
            200,
            f"event: end\ndata: {_COMPLETED.model_dump_json()}\n\n",
            "text/event-stream",
        )
    ],
    "listDeadLetters": [
        _answer(
            "one",
            "One picture",
            DeadLetterList(
                dead_letters=[
                    DeadLetterSchema(
                        id=f"{_JOB}:0:1:1",
                        job_id=_JOB,
                        index=1,
                        name="huge.png",
                        lane=Lane.BULK,
                        at=_NOON,
                    )
                ]
            ),
        )
    ],
    "retryDeadLetter": [_answer("again", "Its job runs again", _QUEUED, 202)],
    "getModel": [
        _answer(
            "mobilenet",
            "The default model",
            ModelSchema(
                name="mobilenet_v3_large",
                version=_VERSION,
                weights="DEFAULT",
                weights_digest="5c1a4163" * 8,
                engine="onnxruntime",
                precision="fp32",
                classes=1000,
                input_size=224,
                activation="softmax",
                threshold=None,
                thresholds={},
                embedding=0,
                notice="",
            ),
        )
    ],
    "listLabels": [
        _answer(
            "two",
            "The labels of a model with two classes",
            LabelList(
                model_version=_VERSION,
                labels=[Label(id=0, name="cat"), Label(id=1, name="dog")],
            ),
        )
    ],
    "getUsage": [
        _answer(
            "key",
            "An API key with a limit for each day",
            Usage(
                client="key alice",
                outstanding_images={Lane.INTERACTIVE: 1, Lane.BULK: 96},
                bytes_held=12_000_000,
                bytes_kept=480_000,
                images_today=417,
                day_ends_at=_NOON + 43_200,
                limits=UsageLimits(images=None, bytes=None, images_per_day=100_000),
            ),
        )
    ],
    "getHealth": [
        _answer(
            "idle",
            "Nothing waits",
            Health(
                status="ok",
                model_version=_VERSION,
                memory=MemoryHealth(used_bytes=2_000_000, limit_bytes=0, picture_bytes=0),
                lanes={Lane.INTERACTIVE: _IDLE, Lane.BULK: _IDLE},
            ),
        )
    ],
    "getLiveness": [_answer("alive", "The process answers", Status(status="ok"))],
    "getReadiness": [_answer("ready", "Requests can be sent here", Status(status="ok"))],
}

"""Examples of the calls of an operator, for the OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from shared.jobs import Lane
from shared.operation.lane_states import LaneState
from web.schemas.examples import EXAMPLES, Example
from web.schemas.operator import (
    LaneList,
    LaneSchema,
    OwnedDeadLetter,
    OwnedDeadLetterList,
    OwnedJob,
    OwnedJobList,
    Purged,
    WorkerList,
    WorkerSchema,
)

_NOON = 1_795_000_000.0


def _answer(name: str, summary: str, body: BaseModel, status: int = 200) -> Example:
    return Example(name, summary, status, json.loads(body.model_dump_json()))


def _value(operation: str) -> Any:
    """The last example of the same call for the client's own jobs or dead letters."""
    return EXAMPLES[operation][-1].value


_COMPLETED = OwnedJob(owner="alice", **_value("getJob"))
_CANCELLED = OwnedJob(owner="alice", **_value("cancelJob"))
_LETTER = OwnedDeadLetter(owner="alice", **_value("listDeadLetters")["dead_letters"][0])
_OPEN = LaneSchema(
    state=LaneState.OPEN,
    since=None,
    by="",
    reason="",
    workers=1,
    outstanding_parts=0,
    outstanding_images=0,
)
_PAUSED = _OPEN.model_copy(
    update={"state": LaneState.PAUSED, "since": _NOON, "by": "operator", "reason": "new model"}
)
_WORKER = WorkerSchema(
    name="bulk@node-1",
    lane=Lane.BULK,
    seen_at=_NOON + 60,
    host="node-1",
    process=7,
    started_at=_NOON,
    engine="onnxruntime",
    model="mobilenet_v3_large",
    model_version=_value("getModel")["version"],
    pool_processes=2,
    parts=4,
)

#: By operation id.
OPERATOR_EXAMPLES: dict[str, list[Example]] = {
    "listAllJobs": [
        _answer("one", "One job of alice", OwnedJobList(jobs=[_COMPLETED], next_before=None))
    ],
    "getAnyJob": [_answer("completed", "One picture failed", _COMPLETED)],
    "cancelAnyJob": [_answer("cancelled", "One picture was already classified", _CANCELLED)],
    "listLanes": [
        _answer(
            "paused",
            "The lane `bulk` is paused",
            LaneList(lanes={Lane.INTERACTIVE: _OPEN, Lane.BULK: _PAUSED}),
        )
    ],
    "setLaneState": [
        Example("pause", "Pause it", None, {"state": "paused", "reason": "new model"}),
        _answer("paused", "Its workers take no parts", _PAUSED),
    ],
    "purgeLane": [
        _answer(
            "done", "Twelve jobs are cancelled", Purged(cancelled=12, more=False, made_before=_NOON)
        )
    ],
    "listAllDeadLetters": [
        _answer("one", "One picture", OwnedDeadLetterList(dead_letters=[_LETTER]))
    ],
    "retryAnyDeadLetter": [
        Example("again", "Its job runs again", 202, _value("retryDeadLetter")),
    ],
    "deleteDeadLetter": [_answer("deleted", "Its picture is gone", _LETTER)],
    "listWorkers": [_answer("one", "One worker", WorkerList(workers=[_WORKER]))],
}

"""Health, for people and probes. No call here asks a worker."""

from __future__ import annotations

from flask import Response
from flask_openapi import APIBlueprint, Tag
from redis.exceptions import RedisError

from shared.errors import ModelNotReady, Unavailable
from shared.jobs import Lane
from shared.operation.lane_states import LaneState
from shared.records.load.backlog import Load
from shared.serving import model_info
from shared.serving.model_info import ModelInfo
from web.http.answers import answer, documented
from web.routes.backend import backend
from web.schemas.status import Health, LaneHealth, MemoryHealth, Readiness, Status

_TAG = Tag(name="Health", description="How the service is. No call here needs an API key.")

blueprint = APIBlueprint("health", __name__, abp_tags=[_TAG])

_FULL = "redis is full"


@blueprint.get(
    "/livez", responses=documented({200: Status}, open_to_all=True), operation_id="getLiveness"
)
def livez() -> Response:
    """Say that this process answers.

    It checks nothing else, so an outage restarts no process.
    """
    return answer(Status(status="ok"))


@blueprint.get(
    "/readyz",
    responses=documented({200: Readiness, 503: Readiness}, open_to_all=True),
    operation_id="getReadiness",
)
def readyz() -> Response:
    """Say whether to send requests here.

    That is so if Redis answers and takes writes, and this process hears of commits. Before a worker
    has announced its model, pictures are accepted and wait for it. A lane that the operator has
    paused or closed is named.
    """
    try:
        model = _announced()
        load = backend().admission.load()
    except RedisError:
        return answer(Readiness(status="redis cannot be reached"), 503)
    if not backend().commits.subscribed.is_set():
        return answer(Readiness(status="not subscribed yet"), 503)
    if load.memory_limit and load.memory_used >= load.memory_limit:
        return answer(Readiness(status=_FULL), 503)
    if model is None:
        return answer(Readiness(status="no model yet"))
    status = _changed(load) or "ok"
    return answer(Readiness(status=status, engine=model.engine, precision=model.precision))


def _announced() -> ModelInfo | None:
    """The model, read now. Raises RedisError in an outage."""
    try:
        return model_info.read(backend().redis)
    except ModelNotReady:
        return None


@blueprint.get(
    "/api/v1/health",
    responses=documented({200: Health}, Unavailable, open_to_all=True),
    operation_id="getHealth",
)
def health() -> Response:
    """Report the workers, backlog and speed of each lane.

    The numbers are about a second old at most.
    """
    try:
        version = backend().model.get().version
    except ModelNotReady:
        version = None
    load = backend().admission.load()
    lanes = {
        lane: LaneHealth(
            state=load.order(lane).state,
            workers=load.workers[lane],
            outstanding_parts=load.parts[lane],
            outstanding_images=load.images[lane],
            images_per_second=round(load.drained[lane], 1),
            estimated_seconds=_rounded(load.seconds_left(lane)),
        )
        for lane in Lane
    }
    memory = MemoryHealth(
        used_bytes=load.memory_used,
        limit_bytes=load.memory_limit,
        picture_bytes=load.bytes_held,
    )
    status = _changed(load) or "ok" if version else "no model yet"
    if not backend().admission.has_memory():
        status = _FULL
    return answer(Health(status=status, model_version=version, memory=memory, lanes=lanes))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _changed(load: Load) -> str:
    """The lanes that the operator has not left open: `bulk is paused`. Empty if all are open."""
    states = {lane: load.order(lane).state for lane in Lane}
    return ", ".join(f"{k} is {v}" for k, v in states.items() if v is not LaneState.OPEN)

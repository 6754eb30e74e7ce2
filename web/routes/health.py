"""Health, for people and probes. None of it touches a worker."""

from __future__ import annotations

from flask import Response
from flask_openapi import APIBlueprint
from redis.exceptions import RedisError

from shared.errors import ModelNotReady
from shared.jobs import Lane
from web.http.answers import answer, documented
from web.schemas import Health, LaneHealth, Status
from web.submit.service import service

blueprint = APIBlueprint("health", __name__)


@blueprint.get("/livez", responses=documented({200: Status}, open_to_all=True))
def livez() -> Response:
    """Tell that this process answers; looks at nothing else, so that an outage restarts nobody."""
    return answer(Status(status="ok"))


@blueprint.get("/readyz", responses=documented({200: Status, 503: Status}, open_to_all=True))
def readyz() -> Response:
    """Tell whether requests should come here: Redis answers, and this process hears commits."""
    found = service()
    try:
        found.redis.ping()
    except RedisError:
        return answer(Status(status="redis cannot be reached"), 503)
    if not found.commits.subscribed.is_set():
        return answer(Status(status="not subscribed yet"), 503)
    return answer(Status(status="ok"))


@blueprint.get("/api/v1/health", responses=documented({200: Health}, 503, open_to_all=True))
def health() -> Response:
    """Tell each lane's workers, backlog and speed of about the last second; no worker is asked."""
    found = service()
    try:
        version = found.model().version
    except ModelNotReady:
        version = None
    now = found.admission.load()
    lanes = {
        lane: LaneHealth(
            workers=now.workers[lane],
            outstanding_parts=now.parts[lane],
            outstanding_images=now.images[lane],
            images_per_second=round(now.drained[lane], 1),
            estimated_seconds=_estimate(now.images[lane], now.drained[lane]),
        )
        for lane in Lane
    }
    return answer(
        Health(status="ok" if version else "no model yet", model_version=version, lanes=lanes)
    )


def _estimate(images: int, per_second: float) -> float | None:
    if not images:
        return 0
    return round(images / per_second, 1) if per_second else None

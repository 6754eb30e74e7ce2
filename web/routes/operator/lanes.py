"""`/operator/lanes`: lanes are paused, drained, closed, opened again, and emptied."""

from __future__ import annotations

from flask import Response

from shared import clock
from shared.errors import InvalidRequest, UnknownField
from shared.jobs import Lane
from shared.operation import lane_states
from shared.records.load import backlog
from web.http.answers import answer, documented
from web.routes.backend import all_owners, backend, owner
from web.routes.operator.blueprint import blueprint, note
from web.schemas.operator import LaneChange, LaneList, LanePath, LaneSchema, PurgeRequest, Purged

#: A proxy ends a request after a minute. A client calls again.
_PURGE_SECONDS = 5.0


@blueprint.get("/lanes", responses=documented({200: LaneList}), operation_id="listLanes")
def list_lanes() -> Response:
    """Read the state and the backlog of each lane, as they are now."""
    load = backlog.read(backend().redis)
    return answer(LaneList(lanes={lane: LaneSchema.of(load, lane) for lane in Lane}))


@blueprint.put(
    "/lanes/<lane>",
    responses=documented({200: LaneSchema}, InvalidRequest, UnknownField),
    operation_id="setLaneState",
)
def set_lane_state(path: LanePath, body: LaneChange) -> Response:
    """Open, pause, drain or close a lane. Web and workers obey within two seconds.

    An `open` lane accepts submissions, and its workers take parts. A `paused` lane accepts
    submissions, which wait: its workers end their micro-batches and take no more. A `draining` lane
    refuses submissions with 503 `lane_closed`, and its workers take what is left. A `closed` lane
    refuses submissions, and its workers take nothing.

    The state stays over restarts of all programs. Nothing that was accepted is lost.
    """
    note(f"state={body.state} reason={body.reason}")
    redis = backend().redis
    lane_states.decide(redis, path.lane, body.state, by=owner(), reason=body.reason)
    backend().admission.forget_load()
    return answer(LaneSchema.of(backlog.read(redis), path.lane))


@blueprint.post(
    "/lanes/<lane>/purge",
    responses=documented({200: Purged}, InvalidRequest, UnknownField),
    operation_id="purgeLane",
)
def purge_lane(path: LanePath, body: PurgeRequest) -> Response:
    """Cancel the jobs of a lane, of all clients. Results that are done stay readable.

    One call takes a few seconds at most. While the answer says `more`, call again with its
    `made_before`, so that the call does not cancel jobs that came later.

    This call has no `Idempotency-Key`, and ignores one. To be able to repeat it after a lost
    answer, send `made_before` with the first request too. Each repetition then cancels only what is
    left of the same jobs.
    """
    made_before = body.made_before
    if made_before is None:
        made_before = clock.now(backend().redis)
    purged = backend().purge.run(
        path.lane, all_owners(), made_before=made_before, seconds=_PURGE_SECONDS
    )
    note(f"cancelled={purged.cancelled} more={purged.more}")
    return answer(Purged(cancelled=purged.cancelled, more=purged.more, made_before=made_before))

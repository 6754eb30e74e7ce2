"""The event that a webhook delivers when its job has ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from shared.jobs import Job

#: Fields of a job that the event copies.
_COPIED = (
    *("id", "state", "lane", "top_k", "model_version"),
    *("created_at", "started_at", "finished_at", "expires_at"),
)
_COUNTS = ("total", "received", "queued", "succeeded", "failed", "cancelled", "cached")


class Event(NamedTuple):
    """One end of a job. Every try sends the same event."""

    id: str
    body: bytes  #: JSON.


def event(job: Job) -> Event:
    """The event of a job that has ended."""
    assert job.finished_at
    # A dead letter that is retried ends its job again. That is another event.
    event_id = f"msg_{job.id}_{round(1000 * job.finished_at)}"
    body = {
        "type": f"job.{job.state}",
        "timestamp": datetime.fromtimestamp(job.finished_at, UTC).isoformat(),
        "data": _job(job),
    }
    return Event(event_id, json.dumps(body, separators=(",", ":")).encode())


def _job(job: Job) -> dict[str, Any]:
    """The job as `GET /jobs/<id>` answers it. A test compares the two."""
    fields = {name: getattr(job, name) for name in _COPIED}
    fields |= {"position": None, "estimated_seconds": None}  # The job has ended.
    return fields | {"counts": {name: getattr(job, name) for name in _COUNTS}}

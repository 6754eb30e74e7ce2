"""The event that a webhook delivers when its job has ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import NamedTuple

from shared.jobs import Job


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
        # As `GET /jobs/<id>` answers it: a job that has ended has no position and no estimate.
        "data": job.public_fields() | {"position": None, "estimated_seconds": None},
    }
    return Event(event_id, json.dumps(body, separators=(",", ":")).encode())

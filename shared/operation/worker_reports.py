"""What each worker runs, as it says itself with every sign of life."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis

from shared import clock, keys
from shared.jobs import Lane
from shared.known_fields import known_fields
from shared.serving import presence

#: A report is readable for so long. Its worker renews it every few seconds.
TTL_SECONDS = 6 * presence.SECONDS


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """A worker of an earlier release reports nothing; then only name, lane and time are known."""

    name: str  #: Celery's name of the worker: `bulk@host`.
    lane: Lane
    seen_at: float = 0.0  #: Of the last sign of life, by the clock of Redis; Unix seconds.
    host: str | None = None
    process: int | None = None  #: Id of the main process.
    started_at: float | None = None  #: Unix seconds.
    engine: str | None = None  #: None until the model is loaded, as the two below.
    model: str | None = None
    model_version: str | None = None
    pool_processes: int | None = None
    parts: int | None = None  #: In work now.
    format: int = 1  #: Of this record. A reader ignores fields that it does not know.


def store(redis: Redis, report: WorkerReport) -> None:
    """Store a worker's own report."""
    redis.set(keys.worker(report.lane, report.name), json.dumps(asdict(report)), ex=TTL_SECONDS)


def remove(redis: Redis, lane: Lane, name: str) -> None:
    redis.delete(keys.worker(lane, name))


def read(redis: Redis) -> list[WorkerReport]:
    """The workers that accept parts, by lane and name; two round trips."""
    now = clock.now(redis)
    pipe = redis.pipeline(transaction=False)
    for lane in Lane:
        presence.names(pipe, lane, now)
    seen = [
        (lane, name.decode(), seen_at)
        for lane, signs in zip(Lane, pipe.execute(), strict=True)
        for name, seen_at in sorted(signs)
    ]
    if not seen:
        return []
    texts: Any = redis.mget([keys.worker(lane, name) for lane, name, _ in seen])
    return [_report(*each, text) for each, text in zip(seen, texts, strict=True)]


def _report(lane: Lane, name: str, seen_at: float, text: bytes | None) -> WorkerReport:
    stored = known_fields(WorkerReport, json.loads(text)) if text else {}
    return WorkerReport(**stored | {"name": name, "lane": lane, "seen_at": seen_at})

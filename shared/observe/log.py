"""Log lines: ECS JSON for machines, text for people.

`fields` below hold for every line of the current request or micro-batch. What a line may carry is
listed in logging/elasticsearch/index-template.json; a test compares.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

import ecs_logging

from shared.settings import Settings

#: Kinds of lines, as `event.dataset`.
REQUEST = "classifier.request"  #: One for each request that is no probe.
BATCH = "classifier.batch"  #: One for each micro-batch.
OTHER = "classifier.log"

#: Fields of the current request or micro-batch, ECS names: `trace.id`, `job.id`. Never file
#: contents, never keys.
fields: ContextVar[dict[str, Any]] = ContextVar("fields", default={})


def note(**more: Any) -> None:
    """Add fields to every later line of this request; `job_id` is written `job.id`."""
    fields.set(fields.get() | {name.replace("_", "."): value for name, value in more.items()})


_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data"}

#: What a person at a terminal can do nothing with.
_FOR_MACHINES = {"trace.id", "task.id", "part.id", "http.request.id", "http.route", "lane"} | {
    *("event.dataset", "event.duration", "service.name", "batch.parts", "user.name")
}


class _AddFields(logging.Filter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._always = {"service.name": service, "event.dataset": OTHER}

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in (self._always | fields.get()).items():
            record.__dict__.setdefault(name, value)
        return True


class _Text(logging.Formatter):
    """`12:30:01 INFO web.http.requests request in 12.3 ms  job.id=… url.path=…`."""

    def format(self, record: logging.LogRecord) -> str:
        known = {k: v for k, v in vars(record).items() if k not in _PLAIN | _FOR_MACHINES}
        duration = vars(record).get("event.duration")
        took = f" in {duration / 1e6:.1f} ms" if duration is not None else ""
        extra = [f"{name}={_short(value)}" for name, value in known.items()]
        return "  ".join([super().format(record) + took, " ".join(extra)]).rstrip()


def _short(value: Any) -> str:
    """A list by its first: a micro-batch of a crowd has thirty jobs."""
    if isinstance(value, list):
        return f"{value[0]}+{len(value) - 1}" if len(value) > 1 else "".join(map(str, value))
    return str(value)


def configure(settings: Settings, service: str) -> None:
    """Send every logger's lines to standard output, once per process."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_AddFields(service))
    if settings.log_format == "json":
        # `log.original` says what `message` says, and a thread's name nothing.
        spared = ["log.original", "process.thread"]
        handler.setFormatter(ecs_logging.StdlibFormatter(exclude_fields=spared))
    else:
        handler.setFormatter(
            _Text("%(asctime)s %(levelname)s %(name)s %(message)s", datefmt="%H:%M:%S")
        )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # Celery says so at every reconnect, about a default that we have weighed and keep.
    logging.captureWarnings(True)

"""Log lines: ECS JSON for machines, text for people.

`fields` below hold for every line of the current request or micro-batch.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

import ecs_logging

from shared.settings import Settings

#: Fields of the current request or micro-batch, ECS names: `trace.id`, `job.id`. Never file
#: contents, never keys.
fields: ContextVar[dict[str, Any]] = ContextVar("fields", default={})


def note(**more: Any) -> None:
    """Add fields to every later line of this request; `job_id` is written `job.id`."""
    fields.set(fields.get() | {name.replace("_", "."): value for name, value in more.items()})


_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _AddFields(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in fields.get().items():
            record.__dict__.setdefault(name, value)
        return True


class _Text(logging.Formatter):
    """`12:30:01 INFO web.requests classified  job.id=… duration_ms=…`."""

    def format(self, record: logging.LogRecord) -> str:
        extra = [f"{k}={v}" for k, v in vars(record).items() if k not in _PLAIN and k != "data"]
        return "  ".join([super().format(record), *extra])


def configure(settings: Settings) -> None:
    """Send every logger's lines to standard output, once per process."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_AddFields())
    if settings.log_format == "json":
        handler.setFormatter(ecs_logging.StdlibFormatter())
    else:
        handler.setFormatter(
            _Text("%(asctime)s %(levelname)s %(name)s %(message)s", datefmt="%H:%M:%S")
        )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # Celery says so at every reconnect, about a default that we have weighed and keep.
    logging.captureWarnings(True)

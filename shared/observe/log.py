"""Log lines: ECS JSON for programs, or text for people.

logging/elasticsearch/index-template.json lists the fields that a line may have. A test compares it
with the code.
"""

from __future__ import annotations

import logging
import socket
import sys
from contextvars import ContextVar
from typing import Any

import ecs_logging

from shared.observe.escape import escaped
from shared.settings.observe import ObserveSettings

#: Kinds of lines, as `event.dataset`.
REQUEST = "classifier.request"  #: One line for each request that is not a probe.
BATCH = "classifier.batch"  #: One line for each micro-batch.
AUDIT = "classifier.audit"  #: One line for each call of an operator.
OTHER = "classifier.log"

#: Fields of every line of the present request or micro-batch, by ECS names: `trace.id`, `job.id`.
#: They never hold the contents of files, and no keys.
fields: ContextVar[dict[str, Any]] = ContextVar("fields", default={})


def note(**more: Any) -> None:
    """Add fields to every later line of this request. The argument `job_id` is `job.id`."""
    fields.set(fields.get() | {name.replace("_", "."): value for name, value in more.items()})


_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data"}

#: Fields that are left out of text, because they are of no use at a terminal.
_FOR_PROGRAMS = {"trace.id", "task.id", "part.id", "http.request.id", "http.route", "lane"} | {
    *("event.dataset", "event.duration", "service.name", "service.node.name"),
    *("batch.parts", "user.name"),
}


class _AddFields(logging.Filter):
    def __init__(self, service: str) -> None:
        super().__init__()
        # The name of the Pod, or the id of the container, or the name of the machine.
        node = socket.gethostname()
        self._always = {
            "service.name": service,
            "service.node.name": node,
            "event.dataset": OTHER,
        }

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in (self._always | fields.get()).items():
            record.__dict__.setdefault(name, value)
        return True


class _Text(logging.Formatter):
    """For example `12:30:01 INFO web.http.requests request in 12.3 ms  job.id=… url.path=…`.

    Each record is one line. Only a traceback has more lines, and they begin with spaces. A client
    chooses paths, names and messages, so it must not be able to begin a line of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        shown = {k: v for k, v in vars(record).items() if k not in _PLAIN | _FOR_PROGRAMS}
        duration = vars(record).get("event.duration")
        took = f" in {duration / 1e6:.1f} ms" if duration is not None else ""
        extra = [f"{name}={_short(value)}" for name, value in shown.items()]
        line = [self.formatTime(record, "%H:%M:%S"), record.levelname, record.name]
        line = [*line, record.getMessage() + took]
        text = escaped("  ".join([" ".join(line), " ".join(extra)]).rstrip())
        return "\n  ".join([text, *map(escaped, self._traceback(record))])

    def _traceback(self, record: logging.LogRecord) -> list[str]:
        texts = [self.formatException(record.exc_info)] if record.exc_info else []
        texts += [record.stack_info] if record.stack_info else []
        return [line for text in texts for line in text.split("\n")]


def _short(value: Any) -> str:
    """The first of a list and how many follow, because a micro-batch may have thirty jobs."""
    if isinstance(value, list):
        value = f"{value[0]}+{len(value) - 1}" if len(value) > 1 else "".join(map(str, value))
    text = str(value)
    # A value with spaces must not look like several fields.
    return f'"{text}"' if " " in text else text


def configure(settings: ObserveSettings, service: str) -> None:
    """Send the lines of every logger to standard output. Call it once per process."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_AddFields(service))
    if settings.log_format == "json":
        # `log.original` repeats `message`, and the names of threads mean nothing here.
        left_out = ["log.original", "process.thread"]
        handler.setFormatter(ecs_logging.StdlibFormatter(exclude_fields=left_out))
    else:
        handler.setFormatter(_Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # gunicorn would print its own lines, with what clients have sent, as they are.
    gunicorn = logging.getLogger("gunicorn.error")
    gunicorn.handlers.clear()
    gunicorn.propagate = True
    # Celery warns at every reconnect about a default that this project keeps on purpose.
    logging.captureWarnings(True)

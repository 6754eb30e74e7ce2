"""The events of a job, and the text in which they arrive (server-sent events)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .records import Item, JobStatus


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """Something that happened to a job."""

    kind: str  #: item, progress or end. Later services may have more kinds.
    item: Item | None = None  #: Of an `item`: it is done.
    status: JobStatus | None = None  #: Of `progress` and `end`.


class EventLines:
    """Makes events from the lines of a stream."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self.retry_seconds = 2.0  #: Until the next connection, as the service says.
        self._fields: dict[str, str] = {}

    def begin_again(self) -> None:
        """Forget half an event of a connection that broke."""
        self._fields = {}

    def feed(self, line: str) -> JobEvent | None:
        """The event that this line completes, if it does."""
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "retry" in fields:
            self.retry_seconds = int(fields["retry"]) / 1000
        self.last_id = fields.get("id", self.last_id)
        if "event" not in fields:
            return None
        data = json.loads(fields["data"])
        if fields["event"] == "item":
            return JobEvent(kind="item", item=Item.of(data))
        return JobEvent(kind=fields["event"], status=JobStatus.of(data))

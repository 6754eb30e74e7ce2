"""Reads the events of a job, as a client does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from flask.testing import FlaskClient


class Event(NamedTuple):
    name: str
    data: Any
    id: int | None


class Reader:
    """Reads events one at a time, as an EventSource does."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.comments: list[str] = []
        self.retry_ms: int | None = None
        self._events = self._parse(pieces)

    def next(self) -> Event:
        return next(self._events)

    def until(self, name: str) -> list[Event]:
        """Events up to the first of this name, with it."""
        events = [self.next()]
        while events[-1].name != name:
            events.append(self.next())
        return events

    def rest(self) -> list[Event]:
        """All further events. Fails if the stream does not end."""
        events: list[Event] = []
        thread = threading.Thread(target=lambda: events.extend(self._events), daemon=True)
        thread.start()
        thread.join(timeout=10)
        assert not thread.is_alive(), events
        return events

    def _parse(self, pieces: Iterator[bytes]) -> Iterator[Event]:
        for piece in pieces:
            assert piece.endswith(b"\n\n")
            for block in piece.decode().removesuffix("\n\n").split("\n\n"):
                if block.startswith(":"):
                    self.comments.append(block)
                    continue
                fields = dict(line.split(": ", 1) for line in block.split("\n"))
                if set(fields) == {"retry"}:
                    self.retry_ms = int(fields["retry"])
                    continue
                number = int(fields["id"]) if "id" in fields else None
                yield Event(fields["event"], json.loads(fields["data"]), number)


@contextmanager
def following(
    client: FlaskClient, job_id: str, query: str = "", **headers: str
) -> Iterator[Reader]:
    response = client.get(f"/jobs/{job_id}/events?{query}", headers=headers, buffered=False)
    assert response.status_code == 200, response.text
    try:
        yield Reader(iter(response.response))  # type: ignore[arg-type]
    finally:
        response.close()


def indexes(events: list[Event]) -> list[int]:
    return [event.data["index"] for event in events if event.name == "item"]

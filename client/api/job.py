"""A job at the service: read its state, wait for its end, read its results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import quote

from .connection import Connection
from ..errors import NotFinished
from .records import Item, JobStatus

#: Longest that one request asks the service to hold; below what proxies allow.
HOLD_SECONDS = 30.0
#: Items in one answer.
_PAGE = 1000


class Job:
    """Only an id: any number of them may stand for the same job."""

    def __init__(self, connection: Connection, job_id: str) -> None:
        self._connection = connection
        self.id = job_id
        # Whatever a person typed is one step of the address, and leads nowhere else.
        self._address = f"/jobs/{quote(job_id, safe='')}"

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self, *, wait: float | None = None) -> JobStatus:
        """As it is now, or at its end where that comes within `wait` seconds (at most 55).

        Raises JobNotFound where the id is unknown or has expired.
        """
        answer = self._connection.call("GET", self._address, params={"wait": wait})
        return JobStatus.of(answer.json())

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Return when it has ended. Raises NotFinished after `timeout` seconds."""
        give_up = None if timeout is None else time.monotonic() + timeout
        while True:
            left = HOLD_SECONDS if give_up is None else max(0.0, give_up - time.monotonic())
            status = self.status(wait=min(left, HOLD_SECONDS))
            if status.ended:
                return status
            if give_up is not None and timeout is not None and time.monotonic() >= give_up:
                raise NotFinished(self.id, timeout)

    def results(self) -> Iterator[Item]:
        """Its items in input order, read page by page; those not yet done are `queued`."""
        offset: int | None = 0
        while offset is not None:
            params = {"offset": offset, "limit": _PAGE}
            page = self._connection.call("GET", f"{self._address}/results", params=params).json()
            yield from map(Item.of, page["items"])
            offset = page["next_offset"]

    def cancel(self) -> JobStatus:
        """What is done stays readable."""
        return JobStatus.of(self._connection.call("DELETE", self._address).json())

"""A job of the service: read its state, wait for its end, read its results, cancel it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import quote

from ..errors import NotFinished
from .connection import Connection
from .records import Item, JobStatus

#: The longest time that one request waits for a job. Proxies allow more.
HOLD_SECONDS = 30.0
#: Items in one answer.
_PAGE = 1000


class Job:
    """A job by its id. Several objects may name the same job.

    Calls raise JobNotFound if the id is unknown or has expired.
    """

    def __init__(self, connection: Connection, job_id: str) -> None:
        self._connection = connection
        self.id = job_id
        # The id may be anything that a user typed. It must stay one segment of the path.
        self._path = f"/jobs/{quote(job_id, safe='')}"

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self, *, wait: float | None = None) -> JobStatus:
        """The present state. With `wait`, returns when the job ends, or after `wait` seconds
        (at most 55)."""
        answer = self._connection.call("GET", self._path, params={"wait": wait})
        return JobStatus.of(answer.json())

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Return when the job has ended. Raises NotFinished after `timeout` seconds."""
        give_up = None if timeout is None else time.monotonic() + timeout
        while True:
            left = HOLD_SECONDS if give_up is None else max(0.0, give_up - time.monotonic())
            status = self.status(wait=min(left, HOLD_SECONDS))
            if status.ended:
                return status
            if give_up is not None and timeout is not None and time.monotonic() >= give_up:
                raise NotFinished(self.id, timeout)

    def results(self) -> Iterator[Item]:
        """The items in input order, read page by page. Unfinished items are `queued`."""
        offset: int | None = 0
        while offset is not None:
            params = {"offset": offset, "limit": _PAGE}
            page = self._connection.call("GET", f"{self._path}/results", params=params).json()
            yield from map(Item.of, page["items"])
            offset = page["next_offset"]

    def cancel(self) -> JobStatus:
        """Cancel the images that are not done. Finished results stay readable."""
        return JobStatus.of(self._connection.call("DELETE", self._path).json())

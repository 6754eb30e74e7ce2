"""A job of the service: read its state, wait for its end, read its results, cancel it."""

from __future__ import annotations

from collections.abc import Iterator

from . import calls
from .transport.connection import Connection
from .events import JobEvent
from .records import Item, JobStatus
from .results import all_results


class Job:
    """A job by its id. Several objects may name the same job.

    Calls raise JobNotFound if the id is unknown or has expired.
    """

    def __init__(self, connection: Connection, job_id: str) -> None:
        self._connection = connection
        self.id = job_id

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self, *, wait: float | None = None) -> JobStatus:
        """The present state. With `wait`, returns when the job ends, or after `wait` seconds
        (at most 55)."""
        return self._connection.run(calls.status(self._connection, self.id, wait=wait))

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Return when the job has ended. Raises NotFinished after `timeout` seconds."""
        return self._connection.run(calls.wait(self._connection, self.id, timeout))

    def results(self, *, embeddings: bool = False) -> Iterator[Item]:
        """The items in input order, read page by page. Unfinished items are `queued`.

        With `embeddings`, items of a job that asked for embeddings have them.
        """
        steps = all_results(self._connection, self.id, embeddings=embeddings)
        return self._connection.iterate(steps)

    def events(self, *, items: bool = True) -> Iterator[JobEvent]:
        """What happens to the job, until its end: each item that is done, and the progress.

        A lost connection is opened again, and no item is missing or repeated. `items=False` leaves
        the items out.
        """
        return self._connection.iterate(calls.follow(self._connection, self.id, items=items))

    def cancel(self) -> JobStatus:
        """Cancel the images that are not done. Finished results stay readable."""
        return self._connection.run(calls.cancel(self._connection, self.id))

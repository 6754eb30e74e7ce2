"""What is told of one job, read once for all of its streams in this process.

A stream that is told of a commit looks at the record again. Were each to look by itself, a hundred
streams of one job would ask Redis a hundred times for the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from redis.exceptions import ConnectionError, RedisError

from shared.errors import JobNotFound
from shared.records.read import JobReader
from shared.jobs import Job
from web.follow.result_formats import item_json

T = TypeVar("T")

#: A job is looked at this often at most, however fast it is worked on.
_PAUSE_SECONDS = 0.25

#: And at least this often while somebody follows it: the cost of a lost notice.
_LOOK_SECONDS = 5.0

#: Items that are read at once, and sent in one piece.
_PAGE = 256

#: Pages that are kept: streams that keep up ask for the last one, and those that began anew differ.
_PAGES_KEPT = 4


#: In an outage Redis is asked again after this.
AWAY_SECONDS = 1.0


class Look(NamedTuple):
    """A job as it was at a moment."""

    began_at: float  #: Monotonic; what was told before then is in it.
    job: Job
    data: bytes  #: The job as clients read it, JSON.


class Page(NamedTuple):
    """Events of items, in the order in which they finished."""

    began_at: float
    start: int
    stop: int
    data: bytes


class JobFeed:
    def __init__(self, jobs: JobReader, job_id: str, tell: Callable[[Job], bytes]) -> None:
        """`tell` gives a job as clients read it."""
        self._jobs = jobs
        self._job_id = job_id
        self._tell = tell
        self._reading = threading.Lock()
        self._look: Look | None = None
        self._pages: dict[int, Page] = {}
        self._heard_at = time.monotonic()
        self._away_until = 0.0
        self.followers: set[threading.Event] = set()  #: Set when there is news.

    def hear(self) -> None:
        """There is news: what was read until now may be old."""
        known = self._look is None or self._look.began_at <= self._heard_at
        self._heard_at = time.monotonic()
        if not known:  # otherwise they wait for the next look already
            self.wake()

    def wake(self) -> None:
        for follower in tuple(self.followers):
            follower.set()

    def seconds_until_look(self) -> float:
        """How long the present look will do, if nothing more is heard."""
        if self._look is None:
            return 0
        heard = self._look.began_at <= self._heard_at
        due = self._look.began_at + (_PAUSE_SECONDS if heard else _LOOK_SECONDS)
        return max(0.0, due - time.monotonic())

    def look(self) -> Look:
        """The job as it is now, or was a moment ago. Raises JobNotFound and RedisError."""
        with self._reading:
            if self._look is None or not self.seconds_until_look():
                self._look = self._ask(self._read_job)
            return self._look

    def page(self, start: int, look: Look) -> Page:
        """Items that finished after the first `start`: all that `look` counts, or a page full.

        Raises JobNotFound and RedisError.
        """
        with self._reading:
            page = self._pages.get(start)
            if page is None or (page.stop - start < _PAGE and page.began_at < look.began_at):
                page = self._ask(lambda: self._read_page(start))
                self._pages.pop(start, None)
                self._pages[start] = page
                if len(self._pages) > _PAGES_KEPT:
                    del self._pages[next(iter(self._pages))]
            return page

    def _ask(self, read: Callable[[], T]) -> T:
        """What is read. One finds out about an outage, the others hear of it."""
        if time.monotonic() < self._away_until:
            raise ConnectionError("away a moment ago")
        try:
            return read()
        except RedisError:
            self._away_until = time.monotonic() + AWAY_SECONDS
            raise

    def _read_job(self) -> Look:
        began_at = time.monotonic()
        job = self._jobs.get(self._job_id)
        return Look(began_at, job, self._tell(job))

    def _read_page(self, start: int) -> Page:
        began_at = time.monotonic()
        indexes = self._jobs.finished(self._job_id, start, start + _PAGE)
        items = self._jobs.items_at(self._job_id, indexes) if indexes else []
        if len(items) < len(indexes):  # expired meanwhile; an item must not be passed over
            raise JobNotFound
        events = [
            b"event: item\nid: %d\ndata: %s\n\n" % (told, item_json(item))
            for told, item in enumerate(items, start + 1)
        ]
        return Page(began_at, start, start + len(items), b"".join(events))

"""What the event streams of one job send, read once for all streams of the job in this process.

If each stream read the record by itself after a commit, a hundred streams of one job would ask
Redis a hundred times for the same.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from shared.breaker import Breaker
from shared.errors import JobNotFound
from shared.jobs import Job
from shared.records.read import JobReader
from web.follow.result_formats import item_json

#: A job's record is read at most this often, however fast the job is worked on.
_PAUSE_SECONDS = 0.25

#: And at least this often while streams follow the job, in case a notice is lost.
_POLL_SECONDS = 5.0

#: Items that are read at once and sent in one piece. With the longest names they take 256 KiB, and
#: each stream whose client does not read holds a piece.
_PAGE = 64

#: Pages that a process keeps for all its streams.
_PAGES_KEPT = 64


class Snapshot(NamedTuple):
    """A job as it was at a moment."""

    began_at: float  #: Monotonic clock. Notices that came before are covered.
    job: Job
    data: bytes  #: The job as clients read it, JSON.


class Page(NamedTuple):
    """Events of items, in the order in which the items finished."""

    began_at: float
    start: int
    stop: int
    data: bytes


class Pages:
    """The pages that were used last, of all jobs of a process.

    Streams that keep up ask for the last page of a job, new streams for earlier ones.
    """

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[str, int], Page] = OrderedDict()

    def get(self, job_id: str, start: int) -> Page | None:
        page = self._pages.get((job_id, start))
        if page:
            self._pages.move_to_end((job_id, start))
        return page

    def keep(self, job_id: str, page: Page) -> None:
        self._pages[job_id, page.start] = page
        self._pages.move_to_end((job_id, page.start))
        if len(self._pages) > _PAGES_KEPT:
            self._pages.popitem(last=False)

    def __len__(self) -> int:
        return len(self._pages)


class JobFeed:
    def __init__(
        self,
        jobs: JobReader,
        job_id: str,
        serialise: Callable[[Job], bytes],
        breaker: Breaker,
        pages: Pages,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`serialise` gives a job as clients read it. All feeds share `breaker` and `pages`."""
        self._jobs = jobs
        self._job_id = job_id
        self._serialise = serialise
        self._breaker = breaker
        self._clock = clock
        self._reading = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._pages = pages
        self._noticed_at = clock()
        self.followers: set[threading.Event] = set()  #: They are set when there may be news.

    def on_notice(self) -> None:
        """The job has changed: wake the followers, unless they are awake already."""
        awake = self._snapshot is None or self._snapshot.began_at <= self._noticed_at
        self._noticed_at = self._clock()
        if not awake:
            for follower in tuple(self.followers):
                follower.set()

    def seconds_until_due(self) -> float:
        """How long the present snapshot will do, if no notice comes."""
        if self._snapshot is None:
            return 0
        changed = self._snapshot.began_at <= self._noticed_at
        due = self._snapshot.began_at + (_PAUSE_SECONDS if changed else _POLL_SECONDS)
        return max(0.0, due - self._clock())

    def snapshot(self) -> Snapshot:
        """The job as it is now, or was a moment ago. Raises JobNotFound and RedisError."""
        with self._reading:
            if self._snapshot is None or not self.seconds_until_due():
                with self._breaker:
                    self._snapshot = self._read_job()
            return self._snapshot

    def page(self, start: int, snapshot: Snapshot) -> Page:
        """Items that finished after the first `start`: all that `snapshot` counts, or a full page.

        Raises JobNotFound and RedisError.
        """
        with self._reading:
            page = self._pages.get(self._job_id, start)
            if page is None or (page.stop - start < _PAGE and page.began_at < snapshot.began_at):
                with self._breaker:
                    page = self._read_page(start)
                self._pages.keep(self._job_id, page)
            return page

    def _read_job(self) -> Snapshot:
        began_at = self._clock()
        job = self._jobs.get(self._job_id)
        return Snapshot(began_at, job, self._serialise(job))

    def _read_page(self, start: int) -> Page:
        began_at = self._clock()
        indexes = self._jobs.finished(self._job_id, start, start + _PAGE)
        items = self._jobs.items_at(self._job_id, indexes) if indexes else []
        if len(items) < len(indexes):  # the job has expired meanwhile, and no item may be left out
            raise JobNotFound
        events = [
            b"event: item\nid: %d\ndata: %s\n\n" % (number, item_json(item))
            for number, item in enumerate(items, start + 1)
        ]
        return Page(began_at, start, start + len(items), b"".join(events))

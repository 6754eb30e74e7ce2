"""The open event streams of this process. Each costs a greenlet, and no connection to Redis.

Their number and their duration are limited. They end when the process ends. A client then opens its
stream again at another process and goes on where it was.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from shared.breaker import Breaker
from shared.errors import Overloaded
from shared.jobs import Job
from shared.records.read import JobReader
from web.follow.commit_listener import CommitListener
from web.follow.job_feed import JobFeed, Pages
from web.server.fairness.departures import DEPARTURES
from web.server.fairness.shares import Shares

#: A stream ends after this. Its client opens it again, which spreads streams over new processes.
_LONGEST_SECONDS = 1800.0

#: When a client should try again, if there is no room for its stream.
_RETRY_AFTER_SECONDS = 5

#: In an outage Redis is asked again after this.
AWAY_SECONDS = 1.0


class EventStream:
    """One client that follows one job."""

    def __init__(
        self,
        feed: JobFeed,
        client: socket.socket | None,
        *,
        seconds: float,
        on_close: Callable[[EventStream], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.feed = feed
        self._woken = threading.Event()
        self._clock = clock
        self._ends_at = clock() + seconds
        self._on_close = on_close
        self._client = client
        feed.followers.add(self._woken)

    @property
    def over(self) -> bool:
        """Whether the client has gone, or should open its stream again."""
        return self._clock() >= self._ends_at

    def wait(self, seconds: float) -> None:
        """Return when the feed may have news, the stream is over, or the time has passed."""
        with DEPARTURES.noticed(self._client, self.end):
            self._woken.wait(max(0.0, min(seconds, self._ends_at - self._clock())))
        self._woken.clear()

    def end(self) -> None:
        self._ends_at = 0
        self._woken.set()

    def close(self) -> None:
        """Call it when the response has ended, in whatever way."""
        self.feed.followers.discard(self._woken)
        self._on_close(self)


class EventStreams:
    def __init__(
        self,
        commits: CommitListener,
        jobs: JobReader,
        *,
        serialise: Callable[[Job], bytes],
        most: int,
        longest_seconds: float = _LONGEST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`serialise` gives a job as clients read it.

        At most `most` streams are open at a time, and half of them for one client.
        """
        self._commits = commits
        self._jobs = jobs
        self._serialise = serialise
        self._places = Shares(most)
        self._longest_seconds = longest_seconds
        self._clock = clock
        self._breaker = Breaker(AWAY_SECONDS)
        self._pages = Pages()
        self._feeds: dict[str, JobFeed] = {}
        self._streams: set[EventStream] = set()
        self._ending = False

    def __len__(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def open(self, job_id: str, client: str, connection: socket.socket | None) -> EventStream:
        """A stream of a job for `client`, which the caller closes. Raises Overloaded."""
        if self._ending or not self._places.take(client):
            raise Overloaded(
                "This process has as many event streams open as it may have, for all clients or "
                "for this one. Try again later.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        try:
            stream = self._stream(job_id, client, connection)
        except BaseException:
            self._places.give_back(client)
            raise
        self._streams.add(stream)
        return stream

    def _stream(self, job_id: str, client: str, connection: socket.socket | None) -> EventStream:
        if job_id not in self._feeds:
            feed = JobFeed(self._jobs, job_id, self._serialise, self._breaker, self._pages)
            self._feeds[job_id] = feed
            self._commits.follow(job_id, feed.on_notice)
        return EventStream(
            self._feeds[job_id],
            connection,
            seconds=self._longest_seconds,
            on_close=lambda closed: self._forget(job_id, client, closed),
            clock=self._clock,
        )

    def end_all(self) -> None:
        """End every stream, because the process is about to end."""
        self._ending = True
        for stream in tuple(self._streams):
            stream.end()

    def _forget(self, job_id: str, client: str, stream: EventStream) -> None:
        if stream not in self._streams:
            return
        self._streams.remove(stream)
        self._places.give_back(client)
        if not stream.feed.followers:
            del self._feeds[job_id]
            self._commits.unfollow(job_id)

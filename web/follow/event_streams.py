"""The open streams of this process: each costs a greenlet, and no connection to Redis.

Bounded in number and in life. They end when the process does: whoever reads one goes on where it
was, at another process.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent

from shared.errors import Overloaded
from shared.records.read import JobReader
from shared.jobs import Job
from web.follow.commit_listener import CommitListener
from web.follow.job_feed import JobFeed

#: Then a client comes back, and is spread over the processes that there are by then.
_LONGEST_SECONDS = 1800.0

#: What a client is told where there is no room for another stream.
_RETRY_AFTER_SECONDS = 5


_READABLE = 1  #: In the words of gevent's event loop.


class EventStream:
    """One client that follows one job."""

    def __init__(
        self,
        feed: JobFeed,
        client: socket.socket | None,
        *,
        seconds: float,
        on_close: Callable[[EventStream], None],
    ) -> None:
        self.feed = feed
        self._woken = threading.Event()
        self._ends_at = time.monotonic() + seconds
        self._on_close = on_close
        self._client = client
        self._watcher: Any = client and gevent.get_hub().loop.io(client.fileno(), _READABLE)
        self._readable = False
        feed.followers.add(self._woken)
        if self._watcher:
            self._watcher.start(self._on_readable)

    @property
    def over(self) -> bool:
        """Whether the client has gone, or should come back later."""
        return time.monotonic() >= self._ends_at

    def wait(self, seconds: float) -> None:
        """Wait until the feed has news, the stream is over, or the time has passed."""
        self._woken.wait(max(0.0, min(seconds, self._ends_at - time.monotonic())))
        self._woken.clear()
        if self._readable:
            self._readable = False
            self._look_at_client()

    def end(self) -> None:
        self._ends_at = 0
        self._woken.set()

    def close(self) -> None:
        """Once the response is done with, however it ended."""
        if self._watcher:
            self._watcher.close()
        self.feed.followers.discard(self._woken)
        self._on_close(self)

    def _on_readable(self) -> None:
        # In the loop itself, where nothing may block. It would be called again and again.
        self._watcher.stop()
        self._readable = True
        self._woken.set()

    def _look_at_client(self) -> None:
        """A client has nothing to say in a stream: it has gone, or has sent its next request."""
        assert self._client
        with suppress(OSError):
            if self._client.recv(1, socket.MSG_PEEK):
                return
        self.end()


class EventStreams:
    def __init__(
        self,
        commits: CommitListener,
        jobs: JobReader,
        *,
        tell: Callable[[Job], bytes],
        most: int,
        longest_seconds: float = _LONGEST_SECONDS,
    ) -> None:
        """`tell` gives a job as clients read it; `most` may be open at a time."""
        self._commits = commits
        self._jobs = jobs
        self._tell = tell
        self._most = most
        self._longest_seconds = longest_seconds
        self._feeds: dict[str, JobFeed] = {}
        self._streams: set[EventStream] = set()
        self._ending = False

    def __len__(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    def open(self, job_id: str, client: socket.socket | None) -> EventStream:
        """Follow a job, for `client`; to be closed. Raises Overloaded."""
        if self._ending or len(self._streams) >= self._most:
            raise Overloaded(
                "As many streams are open as this process may hold.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        if job_id not in self._feeds:
            feed = JobFeed(self._jobs, job_id, self._tell)
            self._feeds[job_id] = feed
            self._commits.follow(job_id, feed.hear)
        stream = EventStream(
            self._feeds[job_id],
            client,
            seconds=self._longest_seconds,
            on_close=lambda closed: self._forget(job_id, closed),
        )
        self._streams.add(stream)
        return stream

    def end_all(self) -> None:
        """The process is about to end: whoever reads goes on at another one."""
        self._ending = True
        for stream in tuple(self._streams):
            stream.end()

    def _forget(self, job_id: str, stream: EventStream) -> None:
        self._streams.discard(stream)
        if not stream.feed.followers:
            del self._feeds[job_id]
            self._commits.unfollow(job_id)

"""Submissions that are accepted together and leave as one message.

The workers' batching rule on this side of the queue. At most a few messages of this process are
unfinished at a time; jobs that are submitted meanwhile gather, and are stored in one transaction
with one message for all. Idle, a job is accepted at once. Loaded, there are far fewer round trips
and messages, and a message costs the worker's main process as much CPU as a tenth of a picture.

Clients that were answered together ask again together. Were the first of them let through at once,
it would be classified alone, at a cost of a third more, and the next one too: so whoever is about
to submit is waited for, and what has gathered is shared out among the messages that may leave. In
one message it would keep one pool process busy, and the others idle, over and over.

Each job keeps its record, and each part its deadline and its commit. There is no thread: a request
whose turn it is acts for the others. And nothing hangs on a notification: a message counts as
unfinished for `patience_seconds` at most. Who dies here has accepted nothing yet.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from redis.exceptions import ConnectionError

from shared.jobs import PART_SIZE, NewJob


class _Message:
    """Jobs under way; finished when each has been committed."""

    def __init__(self, jobs: int) -> None:
        self.left = jobs
        self.sent_at = time.monotonic()


class _Entry:
    """A request that waits for its job to be accepted."""

    def __init__(self, job: NewJob) -> None:
        self.job = job
        self.pending = job.pending
        self.woken = threading.Event()  # its turn to act has come, or another has acted for it
        self.accepted = threading.Event()
        self.error: Exception | None = None


class Coalescer:
    def __init__(
        self,
        accept: Callable[[Sequence[NewJob]], object],
        *,
        max_unfinished: int,
        patience_seconds: float = 2.0,
    ) -> None:
        self._accept = accept
        self._max_unfinished = max_unfinished
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._expected = 0
        self._gathering: deque[_Entry] = deque()
        self._under_way: list[_Message] = []
        self._message_of: dict[str, _Message] = {}  # by job id

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Who gathers waits for the end of this block: a job may be submitted right after it."""
        with self._lock:
            self._expected += 1
        try:
            yield
        finally:
            with self._lock:
                self._expected -= 1
                self._wake_next()

    def submit(self, job: NewJob) -> None:
        """Returns once the job, of one part, has been accepted. Raises what accepting raised."""
        entry = _Entry(job)
        with self._lock:
            self._gathering.append(entry)
            self._wake_next()
        entry.woken.wait(self._patience)
        if entries := self._take(entry):
            self._act_for(entries)
        else:
            entry.accepted.wait()  # another request has it in hand, and always tells
        if entry.error:
            raise entry.error

    def on_commit(self, job_id: str) -> None:
        """A job of one part was committed: its message may be finished, and the next may leave."""
        with self._lock:
            message = self._message_of.pop(job_id, None)
            if message is None:
                return
            message.left -= 1
            if message.left == 0 and message in self._under_way:
                self._under_way.remove(message)
            self._wake_next()

    def on_outage(self) -> None:
        """Who waits here hears of it at once: the patience is not for that."""
        with self._lock:
            entries = list(self._gathering)
            self._gathering.clear()
        for entry in entries:
            entry.error = ConnectionError("the subscription was lost")
            entry.accepted.set()
            entry.woken.set()

    def _take(self, entry: _Entry) -> list[_Entry]:
        """What leaves with `entry`, if it is still here; counts as under way from now."""
        with self._lock:
            if entry not in self._gathering:
                return []
            share = self._share()
            taken = [self._gathering.popleft()]
            images = taken[0].pending
            while self._gathering and images + self._gathering[0].pending <= share:
                taken.append(self._gathering.popleft())
                images += taken[-1].pending
            if entry not in taken:  # ran out of patience in a long queue: it goes first
                self._gathering.remove(entry)
                self._gathering.extendleft(reversed(taken))
                taken = [entry]
            message = _Message(len(taken))
            self._under_way.append(message)
            self._message_of.update({each.job.id: message for each in taken})
            self._wake_next()
            return taken

    def _share(self) -> int:
        """Images for the next message, so that all that may leave get as many."""
        images = sum(entry.pending for entry in self._gathering)
        messages = max(1, self._max_unfinished - self._unfinished())
        return min(PART_SIZE, math.ceil(images / messages))

    def _act_for(self, entries: Sequence[_Entry]) -> None:
        error: Exception | None = None
        try:
            self._accept([entry.job for entry in entries])
        except Exception as raised:  # each waiting request raises it again
            error = raised
            self._forget(entries)
        for entry in entries:
            entry.error = error
            entry.accepted.set()
            entry.woken.set()

    def _forget(self, entries: Sequence[_Entry]) -> None:
        """Their message never left, so no commit will finish it."""
        with self._lock:
            for entry in entries:
                message = self._message_of.pop(entry.job.id, None)
                if message in self._under_way:
                    self._under_way.remove(message)
            self._wake_next()

    def _wake_next(self) -> None:
        """Let the first act, if a message may leave and nobody else is expected."""
        if self._gathering and not self._expected and self._unfinished() < self._max_unfinished:
            self._gathering[0].woken.set()

    def _unfinished(self) -> int:
        oldest = time.monotonic() - self._patience
        self._under_way = [message for message in self._under_way if message.sent_at > oldest]
        return len(self._under_way)

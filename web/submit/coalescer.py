"""Jobs of one part that are accepted together and leave as one message.

This is the workers' batching rule on this side of the queue. A process has at most a few unfinished
messages. Jobs that are submitted meanwhile gather; they are stored in one transaction and leave as
one message. An idle service accepts each job at once. A loaded one saves most of its round trips
and messages, and a message costs the worker's main process as much as a tenth of a picture.

Clients that were answered together ask again together. If the first of them left at once, its
picture would be classified alone, which costs a third more, and so would the next. So a request
that is about to submit is waited for, but not for long: a client with many connections always has
one. What has gathered is then shared out among the messages that may leave, because one message
would keep one pool process busy and leave the others idle.

Each job keeps its own record, and each part its own deadline and commit. Nothing depends on a
notice of a commit: after `patience_seconds` a message no longer counts as unfinished.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from redis.exceptions import ConnectionError

from shared.jobs import PART_SIZE, NewJob
from shared.single_flight import Caller, SingleFlight

_Caller = Caller[NewJob, None]

#: Longest wait for requests that are about to submit. Some client may always have one.
_EXPECTED_SECONDS = 0.05


class _Message:
    """Jobs that left together. It is finished when each has been committed."""

    def __init__(self, jobs: int) -> None:
        self.left = jobs
        self.sent_at = time.monotonic()


class Coalescer(SingleFlight[NewJob, None]):
    def __init__(
        self,
        accept: Callable[[Sequence[NewJob]], object],
        *,
        max_unfinished: int,
        patience_seconds: float = 2.0,
        expected_seconds: float = _EXPECTED_SECONDS,
    ) -> None:
        super().__init__(self._accept_all)
        self._accept = accept
        self._max_unfinished = max_unfinished
        self._patience = patience_seconds
        self._expected_seconds = expected_seconds
        self._expected = 0
        self._under_way: list[_Message] = []
        self._message_of: dict[str, _Message] = {}  #: By job id.

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Let gathered jobs wait for the end of this block: another job may follow right after."""
        with self._lock:
            self._expected += 1
        try:
            yield
        finally:
            with self._lock:
                self._expected -= 1
                self._wake_next()

    def submit(self, job: NewJob) -> None:
        """Return once the job, which has one part, is accepted. Raises what accepting raised."""
        self.ask(job, patience=self._patience)

    def on_commit(self, job_id: str) -> None:
        """Note that a job was committed: if its message is finished, the next one may leave."""
        with self._lock:
            message = self._message_of.pop(job_id, None)
            if message is None:
                return
            message.left -= 1
            if message.left == 0 and message in self._under_way:
                self._under_way.remove(message)
            self._wake_next()

    def on_outage(self) -> None:
        """Let all that gather fail now: waiting for a commit is no use in an outage."""
        self.fail_all(ConnectionError("The subscription to Redis was lost."))

    def _accept_all(self, jobs: Sequence[NewJob]) -> list[None]:
        self._accept(jobs)
        return [None] * len(jobs)

    def _may_leave(self) -> bool:
        if self._expected and time.monotonic() - self._waiting[0].asked_at < self._expected_seconds:
            return False
        return self._unfinished() < self._max_unfinished

    def _choose(self, caller: _Caller) -> list[_Caller]:
        """The jobs of the next message; it counts as unfinished from now on."""
        callers = self._next_share()
        if caller not in callers:  # its patience ended while it was far back: it leaves alone
            self._waiting.remove(caller)
            self._waiting.extendleft(reversed(callers))
            callers = [caller]
        message = _Message(len(callers))
        self._under_way.append(message)
        self._message_of.update({each.question.id: message for each in callers})
        return callers

    def _next_share(self) -> list[_Caller]:
        """Jobs from the front, with as many images as each message that may leave gets."""
        gathered = sum(each.question.pending for each in self._waiting)
        messages = max(1, self._max_unfinished - self._unfinished())
        share = min(PART_SIZE, math.ceil(gathered / messages))
        callers = [self._waiting.popleft()]
        images = callers[0].question.pending
        while self._waiting and images + self._waiting[0].question.pending <= share:
            callers.append(self._waiting.popleft())
            images += callers[-1].question.pending
        return callers

    def _note_landed(self, callers: list[_Caller], error: BaseException | None) -> None:
        """Forget a message that was not sent: no commit will finish it."""
        for each in callers if error else ():
            message = self._message_of.pop(each.question.id, None)
            if message in self._under_way:
                self._under_way.remove(message)

    def _unfinished(self) -> int:
        oldest = time.monotonic() - self._patience
        self._under_way = [message for message in self._under_way if message.sent_at > oldest]
        return len(self._under_way)

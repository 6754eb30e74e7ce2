"""Single pictures that are accepted together and leave as one message.

This is the workers' batching rule on this side of the queue. A process has at most a few unfinished
messages. Jobs that are submitted meanwhile gather; they are stored in one transaction and leave as
one message. An idle service accepts each job at once. A loaded one saves most of its round trips
and messages, and a message costs the worker's main process as much as a tenth of a picture.

Clients that were answered together ask again together. If the first of them left at once, its
picture would be classified alone, which costs a third more, and so would the next. So a request
that is about to submit is waited for, but not for long: a client with many connections always has
one. What has gathered is then shared out among the messages that may leave, because one message
would keep one pool process busy and leave the others idle.

The messages are queued at once, because users wait for single pictures. But hundreds of one client
would stand in front of the picture of another. So a client may have a limited number of pictures in
the queue, and clients share a message in rotation.

Each job keeps its own record, and each part its own deadline and commit. Nothing depends on a
notice of a commit: after a quarter of `patience_seconds` a message no longer counts as unfinished.
It then waits behind something else, and to gather for as long would double the wait. A job that has
waited for all of `patience_seconds` leaves, even if its client has all that it may have in the
queue. It is stored then, and waits for its round as the parts of large jobs do
(shared.records.fairness.rounds).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest

from redis.exceptions import ConnectionError

from shared.jobs import PART_SIZE, NewJob
from shared.single_flight import Caller, SingleFlight

_Caller = Caller[NewJob, None]

#: Longest wait for requests that are about to submit. Some client may always have one.
_EXPECTED_SECONDS = 0.05

#: Pictures of one client in the queue: those of a micro-batch. Twice as many are classified no
#: faster, and would delay others twice as long.
_MOST_OF_CLIENT = PART_SIZE

#: A message that left so long ago does not count for its clients any more.
_LONGEST_SECONDS = 60.0


class _Message:
    """Jobs that left together. It is finished when workers have done with each."""

    def __init__(self, jobs: Iterable[NewJob]) -> None:
        #: The client of each job that is under way, by job id.
        self.client_of = {job.id: job.client for job in jobs}
        self.sent_at = time.monotonic()


class Coalescer(SingleFlight[NewJob, None]):
    def __init__(
        self,
        accept: Callable[..., object],
        *,
        max_unfinished: int,
        patience_seconds: float = 2.0,
        expected_seconds: float = _EXPECTED_SECONDS,
    ) -> None:
        """`accept` gets jobs, and `at_once`: whether to queue them now or in their rounds."""
        super().__init__(self._accept_all)
        self._accept = accept
        self._max_unfinished = max_unfinished
        self._patience = patience_seconds
        self._gathering = patience_seconds / 4
        self._expected_seconds = expected_seconds
        self._expected = 0
        self._under_way: list[_Message] = []  #: The oldest first.
        self._message_of: dict[str, _Message] = {}  #: By job id.
        self._queued: Counter[str] = Counter()  #: Pictures that are under way, by client.

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

    def on_work_done(self, job_id: str) -> None:
        """Note that a job was committed, or that a worker has found it cancelled.

        If its message is finished, the next one may leave. A cancellation alone changes nothing:
        the message is still in the queue, and others wait behind it.
        """
        with self._lock:
            if self._forget(job_id):
                self._wake_next()

    def on_outage(self) -> None:
        """Let all that gather fail now: waiting for a commit is no use in an outage."""
        with self._lock:  # the notices of commits are lost
            for job_id in list(self._message_of):
                self._forget(job_id)
        self.fail_all(ConnectionError("The subscription to Redis was lost."))

    def _accept_all(self, jobs: Sequence[NewJob]) -> list[None]:
        self._accept(jobs, at_once=jobs[0].id in self._message_of)
        return [None] * len(jobs)

    def _next_caller(self) -> _Caller | None:
        if self._unfinished() >= self._max_unfinished:
            return None
        caller = next((each for each in self._waiting if self._room_of(each) > 0), None)
        if caller and self._expected:
            waited = time.monotonic() - caller.asked_at
            return caller if waited >= self._expected_seconds else None
        return caller

    def _room_of(self, caller: _Caller) -> int:
        """How many more pictures its client may have in the queue."""
        return _MOST_OF_CLIENT - self._queued[caller.question.client]

    def _choose(self, caller: _Caller) -> list[_Caller]:
        """The jobs of the next message; it counts as unfinished from now on."""
        callers = self._next_share()
        if caller not in callers:  # its patience has ended: it leaves alone
            self._waiting.remove(caller)
            return [caller]
        for each in callers:
            self._waiting.remove(each)
        message = _Message(each.question for each in callers)
        self._under_way.append(message)
        self._message_of.update(dict.fromkeys(message.client_of, message))
        self._queued.update(each.question.client for each in callers)
        return callers

    def _next_share(self) -> list[_Caller]:
        """Jobs of each client in turn, with as many images as each message that may leave gets."""
        gathered = list(self._in_turn())
        images = sum(each.question.pending for each in gathered)
        messages = max(1, self._max_unfinished - self._unfinished())
        left = min(PART_SIZE, math.ceil(images / messages))
        callers: list[_Caller] = []
        for each in gathered:
            left -= each.question.pending
            if callers and left < 0:
                break
            callers.append(each)
        return callers

    def _in_turn(self) -> Iterator[_Caller]:
        """Those that may be queued: the first of each client, then the second, and so on."""
        of_client: dict[str, list[_Caller]] = {}
        for each in self._waiting:
            of_client.setdefault(each.question.client, []).append(each)
        rows = (callers[: max(0, self._room_of(callers[0]))] for callers in of_client.values())
        for turn in zip_longest(*rows):
            yield from filter(None, turn)

    def _note_landed(self, callers: list[_Caller], error: BaseException | None) -> None:
        """Forget jobs that were not accepted: nothing will commit them."""
        for each in callers if error else ():
            self._forget(each.question.id)

    def _forget(self, job_id: str) -> bool:
        """Count a job no more, if it was counted."""
        message = self._message_of.pop(job_id, None)
        if message is None:
            return False
        client = message.client_of.pop(job_id)
        self._queued[client] -= 1
        if not self._queued[client]:
            del self._queued[client]
        if not message.client_of:
            self._under_way.remove(message)
        return True

    def _unfinished(self) -> int:
        """Messages that left a short time ago. Old ones are forgotten here."""
        now = time.monotonic()
        while self._under_way and self._under_way[0].sent_at <= now - _LONGEST_SECONDS:
            for job_id in list(self._under_way[0].client_of):
                self._forget(job_id)
        return sum(message.sent_at > now - self._gathering for message in self._under_way)

"""One subscription per web process, for all requests that wait in it.

The commit script publishes a notice "<job id> <state>" at each commit. The listener wakes the
requests that wait for that job, and they read the job's record. The notice of a job with one image
carries its outcome as well, which saves that read. Two notices come for a cancelled job:
`cancelled` at once, and `running` when its part has left the queue.

The record is the truth, because a notice may be lost. So a waiting request also reads the record
now and then, and all of them read it when the subscription comes back.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError, TimeoutError

from shared import keys
from shared.errors import ClassifierError
from shared.jobs import JobState
from web.server.fairness.departures import DEPARTURES

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A waiting request reads the record this often, in case a notice is lost while the subscription
#: stands. No such case is known, two thousand requests may wait, and each read is a round trip.
_READ_SECONDS = 20.0
_RECONNECT_SECONDS = 0.5

#: Other states, and those of a later release, end no wait.
_ENDED = frozenset(state for state in JobState if state.ended)

#: An idle Redis sends nothing, and neither does a frozen one. So the listener pings when it has
#: heard nothing for the first of these, and gives the connection up after the second.
_PING_SECONDS = 0.25
_SILENCE_SECONDS = 1.0


class Waiter:
    """A request that waits for a job to end."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.outcome: str | None = None  #: Outcome of a job of one image, as JSON, if it came.
        self._left = False  #: Whether the client has gone.

    def until(
        self, read: Callable[[], T | None], seconds: float, client: socket.socket | None = None
    ) -> T | None:
        """What `read` returns once the job has ended.

        None when the time is over, or soon after `client` has closed its connection.
        """
        with DEPARTURES.noticed(client, self._leave):
            return self._until(read, time.monotonic() + seconds)

    def _leave(self) -> None:
        self._left = True
        self.ended.set()

    def _until(self, read: Callable[[], T | None], deadline: float) -> T | None:
        while (left := deadline - time.monotonic()) > 0 and not self._left:
            self.ended.wait(min(left, _READ_SECONDS))
            self.ended.clear()
            try:
                result = read()
            except RedisError:  # the job is stored and outlives an outage, so the wait goes on
                continue
            if result is not None:
                return result
        return None


class CommitListener:
    def __init__(
        self,
        redis: Redis,
        on_work_done: Callable[[str], None],
        on_outage: Callable[[], None] = lambda: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Subscribe, from a thread.

        `on_work_done` gets the id of each job of which a worker has done something. `on_outage` is
        called when the subscription is lost. Neither may block. `check` is called at each new
        connection, before the subscription; its errors are logged.
        """
        self._redis = redis
        self._on_work_done = on_work_done
        self._on_outage = on_outage
        self._check = check
        self._waiting: dict[str, set[Waiter]] = defaultdict(set)
        self._following: dict[str, Callable[[], None]] = {}
        self._closed = threading.Event()
        self._pubsub: Any = None
        self.subscribed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commits", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the subscription and its thread."""
        self._closed.set()
        if self._pubsub:
            with suppress(RedisError):
                self._pubsub.unsubscribe()  # Redis answers, which wakes the thread
        self._thread.join(timeout=3)

    @contextmanager
    def waiting(self, job_id: str) -> Iterator[Waiter]:
        """Wait for the end of a job in this block.

        Enter it before the job is published or read, so that no notice is missed.
        """
        waiter = Waiter()
        self._waiting[job_id].add(waiter)
        try:
            yield waiter
        finally:
            self._waiting[job_id].discard(waiter)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def follow(self, job_id: str, on_notice: Callable[[], None]) -> None:
        """Call `on_notice` at every notice of a job. It may not block; a job has one follower."""
        self._following[job_id] = on_notice

    def unfollow(self, job_id: str) -> None:
        del self._following[job_id]

    def _run(self) -> None:
        reason = ""
        while not self._closed.is_set():
            try:
                self._listen()
            except (RedisError, ClassifierError) as error:
                if self.subscribed.is_set() or reason != str(error):
                    reason = str(error)
                    logger.warning("no subscription to commits: %s", reason)
            except Exception:  # without this thread every wait would last _READ_SECONDS
                logger.exception("the subscription to commits failed")
            self.subscribed.clear()
            self._on_outage()
            self._closed.wait(_RECONNECT_SECONDS)

    def _listen(self) -> None:
        """Subscribe, and pass notices on until the connection or this listener ends."""
        self._check()
        self._pubsub = self._redis.pubsub()  # type: ignore[no-untyped-call]
        try:
            self._pubsub.subscribe(keys.COMMITTED)
            heard_at = time.monotonic()
            while not self._closed.is_set():
                message = self._pubsub.get_message(timeout=_PING_SECONDS)
                if message is None:
                    if time.monotonic() - heard_at > _SILENCE_SECONDS:
                        raise TimeoutError("Redis is silent")
                    self._pubsub.ping()
                    continue
                heard_at = time.monotonic()
                if message["type"] == "subscribe":
                    self.subscribed.set()
                    self._wake_all()
                elif message["type"] == "message":
                    self._pass_on(message["data"].decode())
        finally:
            self._pubsub.close()

    def _pass_on(self, notice: str) -> None:
        job_id, state, *outcome = notice.split(" ", 2)
        if state != JobState.CANCELLED:
            self._on_work_done(job_id)
        if on_notice := self._following.get(job_id):
            on_notice()
        if state not in _ENDED:
            return
        for waiter in tuple(self._waiting.get(job_id, ())):
            waiter.outcome = outcome[0] if outcome else None
            waiter.ended.set()

    def _wake_all(self) -> None:
        """Notices may have been missed, so every waiting request reads its record."""
        for on_notice in list(self._following.values()):
            on_notice()
        for waiters in list(self._waiting.values()):
            for waiter in tuple(waiters):
                waiter.ended.set()

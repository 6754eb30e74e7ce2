"""One subscription per web process, for everybody who waits in it.

The commit script publishes "<job id> <state>"; this reads the channel and wakes whoever waits for
that job, who then reads the record; the outcome of a single picture comes with the notice. The
record is the truth: a notice may be lost, so a waiter also looks by itself now and then, and all
look when the subscription comes back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from redis import Redis
from redis.exceptions import RedisError, TimeoutError

from shared import keys
from shared.jobs import JobState

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A waiter looks this often by itself: the cost of a notice that is lost though the subscription
#: stands, which nothing is known to do. Two thousand may wait, and each look is a round trip.
_LOOK_SECONDS = 20.0
_RECONNECT_SECONDS = 0.5

#: While there is nothing to hear, Redis is asked this often whether it is there at all; a frozen
#: Redis or a cut without a word would otherwise look like an idle one.
_PING_SECONDS = 0.25
_SILENCE_SECONDS = 1.0


class Waiter:
    """Somebody who waits for a job to end."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.told: str | None = None  #: Outcome of a job of one item, as the notice tells it.

    def until(self, look: Callable[[], T | None], seconds: float) -> T | None:
        """What `look` gives once the job has ended; None when the time is over."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.ended.wait(min(left, _LOOK_SECONDS))
            self.ended.clear()
            try:
                found = look()
            except RedisError:  # what waits is stored: it outlives an outage, and so may the wait
                continue
            if found is not None:
                return found
        return None


class CommitListener:
    def __init__(
        self,
        redis: Redis,
        on_commit: Callable[[str], None],
        on_outage: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_commit` hears every job id that had a commit; neither may block."""
        self._redis = redis
        self._on_commit = on_commit
        self._on_outage = on_outage
        self._waiting: dict[str, set[Waiter]] = defaultdict(set)
        self._following: dict[str, Callable[[], None]] = {}
        self._closed = threading.Event()
        self.subscribed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="commits", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=3)

    @contextmanager
    def waiting(self, job_id: str) -> Iterator[Waiter]:
        """Hear of the end of a job. Enter before it is published or read: no end is missed."""
        waiter = Waiter()
        self._waiting[job_id].add(waiter)
        try:
            yield waiter
        finally:
            self._waiting[job_id].discard(waiter)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def follow(self, job_id: str, on_notice: Callable[[], None]) -> None:
        """Call `on_notice`, which must not block, at every notice of a job; one may follow it."""
        self._following[job_id] = on_notice

    def unfollow(self, job_id: str) -> None:
        del self._following[job_id]

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                self._follow()
            except RedisError as error:
                logger.warning("subscription lost: %s", error)
            except Exception:  # were this thread to end, every wait would last _LOOK_SECONDS
                logger.exception("subscription failed")
            self.subscribed.clear()
            self._on_outage()
            self._closed.wait(_RECONNECT_SECONDS)

    def _follow(self) -> None:
        pubsub = self._redis.pubsub()  # type: ignore[no-untyped-call]
        try:
            pubsub.subscribe(keys.COMMITTED)
            heard_at = time.monotonic()
            while not self._closed.is_set():
                message = pubsub.get_message(timeout=_PING_SECONDS)
                if message is None:
                    if time.monotonic() - heard_at > _SILENCE_SECONDS:
                        raise TimeoutError("Redis is silent")
                    pubsub.ping()
                    continue
                heard_at = time.monotonic()
                if message["type"] == "subscribe":
                    self.subscribed.set()
                    self._wake_all()
                elif message["type"] == "message":
                    self._tell(message["data"].decode())
        finally:
            pubsub.close()

    def _tell(self, notice: str) -> None:
        job_id, state, *outcome = notice.split(" ", 2)
        self._on_commit(job_id)
        if on_notice := self._following.get(job_id):
            on_notice()
        if not JobState(state).ended:
            return
        for waiter in tuple(self._waiting.get(job_id, ())):
            waiter.told = outcome[0] if outcome else None
            waiter.ended.set()

    def _wake_all(self) -> None:
        """Notices may have been missed: everyone looks again."""
        for on_notice in list(self._following.values()):
            on_notice()
        for waiters in list(self._waiting.values()):
            for waiter in tuple(waiters):
                waiter.ended.set()

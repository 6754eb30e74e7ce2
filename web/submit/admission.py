"""Whether there is room for more: refused while it is cheap, and before anything is kept.

What was accepted is never dropped, so the only place to say no is here. Each accept tells what
there is now, so a lane with room costs no round trip of its own; a lane that looks full is looked
at again, ten times a second at most, before anyone is refused. Between two looks other web
processes may fill the last of the room as well, so a limit may be passed by what they accept in
that moment; Redis's own `maxmemory` is the hard one.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from redis import Redis
from redis.exceptions import ConnectionError, OutOfMemoryError, RedisError

from shared.records import backlog
from shared.records.claims import Claim
from shared.errors import Overloaded
from shared.jobs import Job, Lane, NewItem, NewJob, OpenJob
from shared.records.backlog import Load
from shared.records.submit import Accepted, JobSubmitter, PutPart

#: A look at the numbers is this old at most, and before a refusal this.
_LOOK_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 0.1

#: After an outage was noticed, who comes within this hears of it instead of trying too.
_AWAY_SECONDS = 0.25

#: Of the bytes, so that a full bulk lane leaves room for a person.
_BULK_SHARE = 0.8

#: Of Redis's memory. The rest is for results, messages and what Celery notes down: a Redis that
#: is really full could not even take the results that would empty it.
_MEMORY_SHARE = 0.9

#: Of a limit, that should be free when a refused client returns, or the next one is refused again.
_HEADROOM = 0.1

#: What a client is told where nothing drains, and the longest that it is told.
_NOTHING_DRAINS_SECONDS = 30
_LONGEST_SECONDS = 300


class Admission:
    def __init__(
        self,
        redis: Redis,
        submitter: JobSubmitter,
        *,
        max_images: Mapping[Lane, int],
        max_bytes: int,
    ) -> None:
        self._redis = redis
        self._submitter = submitter
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._look = threading.Lock()
        self._load: Load | None = None  # None: not known, at the start and in an outage
        self._looked_at = -math.inf
        self._failed_at = -math.inf
        self._bytes_limit = max_bytes
        self._images: Counter[Lane] = Counter()
        self._bytes = 0
        self._images_coming: Counter[Lane] = Counter()
        self._bytes_coming = 0

    def load(self) -> Load:
        """The last look at the numbers, about a second old at most.

        Raises RedisError in an outage.
        """
        if self._load is None or self._age() > _LOOK_SECONDS:
            self._look_again()
        return self._known()

    def check(self, lane: Lane, *, images: int, size: int) -> None:
        """Refuse what there is no room for: so many images, of `size` bytes together.

        What is more than a limit by itself fits where nothing else is. Raises Overloaded, and
        RedisError within a second in an outage.
        """
        self.load()
        if self._seconds_until_room(lane, images, size) and self._age() > _LOOK_AGAIN_SECONDS:
            self._look_again()
        if seconds := self._seconds_until_room(lane, images, size):
            raise Overloaded(retry_after_seconds=seconds)

    def check_any(self, lanes: Sequence[Lane], *, images: int, size: int) -> None:
        """Refuse what none of these lanes has room for. Raises as `check` does."""
        *others, last = lanes
        for lane in others:
            with suppress(Overloaded):
                return self.check(lane, images=images, size=size)
        self.check(last, images=images, size=size)

    @contextmanager
    def room(self, lane: Lane, *, images: int, size: int) -> Iterator[None]:
        """Room that is taken while the block accepts: nobody else is promised the same."""
        self.check(lane, images=images, size=size)
        self._images_coming[lane] += images
        self._bytes_coming += size
        try:
            yield
        finally:
            self._images_coming[lane] -= images
            self._bytes_coming -= size

    def accept(self, jobs: Sequence[NewJob], claim: Claim | None = None) -> None:
        """Store and queue jobs of one lane. Raises Overloaded where Redis is full."""
        with self._storing():
            accepted = self._submitter.accept(jobs, claim)
        self._note_accepted(jobs[0].lane, accepted)

    def open(self, job: OpenJob, claim: Claim | None = None) -> None:
        """Store a job that is to be filled. Raises Overloaded where Redis is full."""
        with self._storing():
            self._submitter.open(job, claim)

    def put_part(self, job: Job, number: int, items: Iterable[NewItem], trace: str) -> PutPart:
        """Store and queue a part. Raises Overloaded where Redis is full, and as the store does."""
        with self._storing():
            put = self._submitter.put_part(job, number, items, trace)
        self._note_accepted(job.lane, put.accepted)
        return put

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OutOfMemoryError as error:
            raise Overloaded(retry_after_seconds=_NOTHING_DRAINS_SECONDS) from error
        except RedisError:
            self._load = None
            raise

    def _note_accepted(self, lane: Lane, accepted: Accepted | None) -> None:
        if accepted:
            self._images[lane] = accepted.images
            self._bytes = accepted.bytes_held

    def _age(self) -> float:
        return time.monotonic() - self._looked_at

    def _look_again(self) -> None:
        """One looks at a time; the others go by what is known, or in an outage wait for it."""
        if not self._look.acquire(blocking=self._load is None):
            return
        try:
            if self._load and self._age() < _LOOK_AGAIN_SECONDS:
                return
            if time.monotonic() - self._failed_at < _AWAY_SECONDS:
                raise ConnectionError("away a moment ago")
            self._note(self._read())
        finally:
            self._look.release()

    def _known(self) -> Load:
        if self._load is None:  # gevent's lock lets others run, and one has found Redis away
            raise ConnectionError("away a moment ago")
        return self._load

    def _read(self) -> Load:
        try:
            return backlog.read(self._redis)
        except RedisError:
            self._failed_at, self._load = time.monotonic(), None
            raise

    def _note(self, found: Load) -> None:
        self._load, self._looked_at = found, time.monotonic()
        self._images, self._bytes = Counter(found.images), found.bytes_held
        self._bytes_limit = self._max_bytes
        if found.memory_limit:
            left = int(_MEMORY_SHARE * found.memory_limit) - found.memory_used
            self._bytes_limit = min(self._max_bytes, max(0, found.bytes_held + left))

    def _seconds_until_room(self, lane: Lane, images: int, size: int) -> int:
        """0 where there is room; else from how fast the lanes were emptied lately."""
        drained = self._known().drained
        outstanding = self._images[lane] + self._images_coming[lane]
        limit = self._max_images[lane]
        if over := _over(outstanding, images, limit):
            return _seconds(over + _HEADROOM * limit, drained[lane])
        held = self._bytes + self._bytes_coming
        limit = int(self._bytes_limit * (_BULK_SHARE if lane is Lane.BULK else 1))
        if over := _over(held, size, limit):
            size_of_one = held / max(1, self._images.total())
            rate = sum(drained.values())
            return _seconds((over + _HEADROOM * limit) / max(1, size_of_one), rate)
        return 0


def _over(present: int, asked: int, limit: int) -> int:
    return max(0, present + asked - limit) if present and asked else 0


def _seconds(images: float, rate: float) -> int:
    if not rate:
        return _NOTHING_DRAINS_SECONDS
    return min(_LONGEST_SECONDS, max(1, math.ceil(images / rate)))

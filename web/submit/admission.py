"""Admission: is there room for more? A refusal comes while it is cheap and before anything is kept.

What was accepted is never dropped, so this is the only place that says no. A request asks when its
head has come, and reserves a `Room`. It corrects the reservation when its body has been read, and
gives it back when its images are stored or refused.

Each accept brings the present counts with it, so a lane with room costs no round trip of its own.
Before a refusal the counts are read again, ten times a second at most. Between two reads other web
processes may take the last of the room as well. So a limit may be passed by what they accept in
that moment; Redis's own `maxmemory` is the hard limit.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from shared.breaker import Breaker
from shared.errors import Overloaded
from shared.jobs import Job, Lane, NewItem, NewJob, OpenJob
from shared.records.load import backlog
from shared.records.load.backlog import Load
from shared.records.claims import Claim
from shared.records.submit import Accepted, JobSubmitter, PutPart
from shared.single_flight import SingleFlight

#: The counts are read again when they are older than this, and before a refusal than that.
_FRESH_SECONDS = 1.0
_FRESH_FOR_REFUSAL_SECONDS = 0.1

#: After a read found Redis away, callers within this time hear of it instead of trying too.
_AWAY_SECONDS = 0.25

#: Share of the bytes that the bulk lane may fill, so that it leaves room for single pictures.
_BULK_SHARE = 0.8

#: Share of Redis's memory that images may fill. The rest is for results, messages and Celery's
#: notes: a Redis that is really full could not even take the results that would empty it.
_MEMORY_SHARE = 0.9

#: Share of a limit that should be free when a refused client returns, or the next is refused again.
_HEADROOM = 0.1

#: `Retry-After` where nothing drains, and its longest value.
_NOTHING_DRAINS_SECONDS = 30
_LONGEST_SECONDS = 300


class Room:
    """Room that one request has reserved. Use it as a context manager around the request.

    It is given back at the end, whatever happens; giving it back earlier, or twice, is harmless. A
    request has room while its body is read and its images are stored, and none while its client
    waits for the answer: stored images are in the counts of the records.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.lane: Lane | None = None
        self.images = 0
        self.size = 0

    def reserve(self, lanes: Sequence[Lane], *, size: int) -> None:
        """Reserve the place of one image in the first of `lanes` that has room for it.

        `size` is the length of the body in bytes. There must be room for it, but it is not
        reserved: a few slow uploads would otherwise refuse everybody else. Raises Overloaded, and
        RedisError within a second in an outage.
        """
        *others, last = lanes
        for lane in others:
            with suppress(Overloaded):
                self._admission.check(lane, images=1, size=size, own=self)
                return self._set(lane, 1, 0)
        self._admission.check(last, images=1, size=size, own=self)
        self._set(last, 1, 0)

    def fill(self, lane: Lane, *, images: int, size: int) -> None:
        """Correct the reservation to what the body holds: images of `size` bytes together.

        Only what is not reserved yet is asked for. Raises as `reserve` does.
        """
        self._admission.check(lane, images=images, size=size, own=self)
        self._set(lane, images, size)

    def give_back(self) -> None:
        """Reserve nothing any more."""
        if self.lane:
            self._set(None, 0, 0)

    def _set(self, lane: Lane | None, images: int, size: int) -> None:
        self._admission.count(self, -1)
        self.lane, self.images, self.size = lane, images, size
        self._admission.count(self, 1)

    def __enter__(self) -> Room:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.give_back()


class Admission:
    def __init__(
        self,
        redis: Redis,
        submitter: JobSubmitter,
        *,
        max_images: Mapping[Lane, int],
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_images` may be outstanding in each lane, and `max_bytes` of images in Redis."""
        self._clock = clock
        self.max_images = max_images
        self._redis = redis
        self._submitter = submitter
        self._max_bytes = max_bytes
        self._reads: SingleFlight[None, Load] = SingleFlight(self._read)
        self._breaker = Breaker(_AWAY_SECONDS, clock)
        self._load: Load | None = None  #: None: not known, at the start and in an outage.
        self._read_at = -math.inf
        self._bytes_limit = max_bytes
        self._images: Counter[Lane] = Counter()
        self._bytes = 0
        self._reserved_images: Counter[Lane] = Counter()
        self._reserved_bytes = 0

    def load(self) -> Load:
        """The present load, about a second old at most. Raises RedisError in an outage."""
        if self._load is None or self._age() > _FRESH_SECONDS:
            return self._read_again()
        return self._load

    def room(self) -> Room:
        """Room for one request, with nothing reserved yet."""
        return Room(self)

    def check(self, lane: Lane, *, images: int, size: int, own: Room) -> None:
        """Whether there is room for so many images, of `size` bytes together.

        `own` is what the request has reserved already. A job that is larger than a limit fits where
        nothing else is. Raises Overloaded, and RedisError within a second in an outage.
        """
        load = self.load()
        seconds = self._seconds_until_room(load, lane, images, size, own)
        if seconds and self._age() > _FRESH_FOR_REFUSAL_SECONDS:
            load = self._read_again()
            seconds = self._seconds_until_room(load, lane, images, size, own)
        if seconds:
            raise Overloaded(retry_after_seconds=seconds)

    def count(self, room: Room, sign: int) -> None:
        """Add what a room has reserved, or take it away. For `Room` alone."""
        if room.lane:
            self._reserved_images[room.lane] += sign * room.images
            self._reserved_bytes += sign * room.size

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
        return self._clock() - self._read_at

    def _read_again(self) -> Load:
        """The load as one caller reads it now.

        The others go by the last load meanwhile. In an outage they wait for the one that reads.
        """
        if self._load is not None and self._reads.is_busy:
            return self._load
        return self._reads.ask(None)

    def _read(self, callers: Sequence[None]) -> list[Load]:
        if self._load is None or self._age() >= _FRESH_FOR_REFUSAL_SECONDS:
            try:
                with self._breaker:
                    self._note_read(backlog.read(self._redis))
            except RedisError:
                self._load = None
                raise
        assert self._load
        return [self._load] * len(callers)

    def _note_read(self, load: Load) -> None:
        self._load, self._read_at = load, self._clock()
        self._images, self._bytes = Counter(load.images), load.bytes_held
        self._bytes_limit = self._max_bytes
        if load.memory_limit:
            left = int(_MEMORY_SHARE * load.memory_limit) - load.memory_used
            self._bytes_limit = min(self._max_bytes, max(0, load.bytes_held + left))

    def _seconds_until_room(self, load: Load, lane: Lane, images: int, size: int, own: Room) -> int:
        """0 where there is room; otherwise an estimate from how fast the lanes drained lately."""
        own_images = own.images if own.lane is lane else 0
        present = self._images[lane] + self._reserved_images[lane] - own_images
        limit = self.max_images[lane]
        if images > own_images and (over := _over(present, images, limit)):
            return _seconds(over + _HEADROOM * limit, load.drained[lane])
        held = self._bytes + self._reserved_bytes - own.size
        limit = int(self._bytes_limit * (_BULK_SHARE if lane is Lane.BULK else 1))
        if size > own.size and (over := _over(held, size, limit)):
            size_of_one = held / max(1, self._images.total())
            rate = sum(load.drained.values())
            return _seconds((over + _HEADROOM * limit) / max(1, size_of_one), rate)
        return 0


def _over(present: int, more: int, limit: int) -> int:
    """By how much `more` is too much; nothing is where nothing else is."""
    return max(0, present + more - limit) if present else 0


def _seconds(images: float, rate: float) -> int:
    if not rate:
        return _NOTHING_DRAINS_SECONDS
    return min(_LONGEST_SECONDS, max(1, math.ceil(images / rate)))

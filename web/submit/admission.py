"""Admission: is there room for more? A refusal comes while it is cheap and before anything is kept.

What was accepted is never dropped, so this is the only place that says no. A request asks when its
head has come, and reserves a `Room`. It corrects the reservation when its body has been read, and
gives it back when its images are stored or refused.

Each accept brings the present counts with it, so a lane with room costs no round trip of its own.
Before a refusal the counts are read again, ten times a second at most. Between two reads other web
processes may take the last of the room as well. So a limit may be passed by what they accept in
that moment; Redis's own `maxmemory` is the hard limit. A request with many bytes asks Redis first
what others are storing (web.submit.large_requests).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from shared.breaker import Breaker
from shared.errors import LaneClosed, Overloaded, RequestTooLarge, TryLater
from shared.jobs import Job, Lane, NewItem, NewJob, OpenJob
from shared.records import footprint
from shared.records.images import staged
from shared.records.load import backlog
from shared.records.load.backlog import Load
from shared.records.claims import Claim
from shared.records.submit import Accepted, JobSubmitter, PutPart
from shared.single_flight import SingleFlight
from shared.sizes import count_text, too_large
from web.http.clients import NOBODY, Client
from web.submit.budgets import NOTHING_DRAINS_SECONDS, Budgets
from web.submit.client_accounts import ClientAccounts
from web.submit.large_requests import NOTHING_BEFORE, LargeRequests
from web.submit.limits import NOTHING, Limits, Need, Present, memory_for_all
from web.submit.room import Room

#: The counts are read again when they are older than this, and before a refusal than that.
_FRESH_SECONDS = 1.0
_FRESH_FOR_REFUSAL_SECONDS = 0.1

#: After a read found Redis away, callers within this time hear of it instead of trying too.
_AWAY_SECONDS = 0.25


class Admission:
    def __init__(
        self,
        redis: Redis,
        submitter: JobSubmitter,
        *,
        max_images: Mapping[Lane, int],
        max_bytes: int,
        max_request_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_images` may be outstanding in each lane, and `max_bytes` of images in Redis.

        `max_request_bytes` is the size of the largest form.
        """
        self._clock = clock
        self.limits = Limits(images=max_images, size=max_bytes, form=max_request_bytes)
        self._redis = redis
        self._accounts = ClientAccounts(redis, clock)
        self._submitter = submitter
        self._reads: SingleFlight[None, Load] = SingleFlight(self._read)
        self._breaker = Breaker(_AWAY_SECONDS, clock)
        self.large_requests = LargeRequests(redis, self._breaker)
        self._load: Load | None = None  #: None: not known, at the start and in an outage.
        self._read_at = -math.inf
        self._images: Counter[Lane] = Counter()
        self._bytes = 0
        #: What this process has stored since the load was read: bytes of images, and of records.
        self._new_bytes = self._new_records = 0
        self._reserved_images: Counter[Lane] = Counter()
        self._reserved_bytes = 0
        self._reserved_records = 0
        #: Bytes of memory for images that requests under way have stored: `memory_used` has them,
        #: and they are still reserved.
        self._staged = self._staged_at_read = 0
        #: The same of other processes. Once they are accepted, `_bytes` has them, too.
        self._staged_elsewhere_at_read = 0

    def load(self) -> Load:
        """The present load, about a second old at most. Raises RedisError in an outage."""
        if self._load is None or self._age() > _FRESH_SECONDS:
            return self._read_again()
        return self._load

    def forget_load(self) -> None:
        """Let the next caller read the load, because the operator has changed a lane."""
        self._load = None

    def room(self, client: Client = NOBODY) -> Room:
        """Room for one request of a client, with nothing reserved yet."""
        return Room(self, client)

    def check(self, lane: Lane, need: Need, own: Room) -> None:
        """Whether there is room for what a request needs.

        `own` is what it has reserved already. A job that is larger than a limit fits where nothing
        else is. Raises Overloaded, which is LaneClosed if the operator wants it so. Raises
        TooManyOutstanding, TooMuchKept and DailyLimitReached if only this client has no room.
        Raises RedisError within a second in an outage.
        """
        self._check_open(lane)
        if own.reservation:
            load = self._read_again()
            self._bytes = own.reservation.before.held
        else:
            load = self.load()
        refusal = self._refusal(load, lane, need, own)
        if refusal and self._age() > _FRESH_FOR_REFUSAL_SECONDS:
            refusal = self._refusal(self._read_again(), lane, need, own)
        if refusal:
            raise refusal

    def _refusal(self, load: Load, lane: Lane, need: Need, own: Room) -> TryLater | None:
        budgets = self._budgets(load, lane, need, own)
        if seconds := budgets.seconds_until_room():
            return Overloaded(retry_after_seconds=seconds)
        reserved = own.need if own.lane is lane else own.need._replace(images=0)
        return self._accounts.refusal(
            own.client, lane, need, reserved, budgets, reservation=own.reservation
        )

    def check_size(self, need: Need) -> None:
        """Raises RequestTooLarge if a request may never have so many bytes, and RedisError."""
        most = self.limits.most_at_once(need, self.load())
        if need.size > most:
            raise RequestTooLarge(
                f"{count_text(need.images, 'picture')} are stored together and have "
                f"{too_large(need.size, most)}, so that other clients have room, too. Send fewer or"
                " smaller pictures, or the folder with `image-classifier upload`: it sends fewer at"
                " a time. The operator can give Redis more memory."
            )

    def has_memory(self) -> bool:
        """Whether Redis has memory for new records. Raises RedisError in an outage."""
        load = self.load()
        return not load.memory_limit or load.memory_used < memory_for_all(load)

    def count(self, room: Room, sign: int) -> None:
        """Add what a room has reserved, or take it away. For `Room` alone."""
        if room.lane:
            self._reserved_images[room.lane] += sign * room.need.images
            self._reserved_bytes += sign * room.need.size
            self._reserved_records += sign * room.need.records
            self._accounts.count(room.client, room.lane, room.need, sign)

    def count_staged(self, size: int) -> None:
        """Count memory that Redis has taken for images of a request. For `Room` alone."""
        self._staged += size

    def note_stored(self, room: Room) -> None:
        """Count the records of a request until the next read has them. For `Room` alone."""
        self._new_records += room.need.records
        if room.lane:
            self._accounts.note_stored(room.client, room.lane, room.need)

    @contextmanager
    def staged(self, job: NewJob, room: Room) -> Iterator[NewJob]:
        """Store images of many bytes, before this block accepts their job. Raises as `accept`."""
        with self._storing(), staged(self._redis, job, room.note_staged) as without_bytes:
            yield without_bytes

    def accept(
        self, jobs: Sequence[NewJob], claim: Claim | None = None, *, at_once: bool = False
    ) -> None:
        """Store jobs of one lane. Their parts wait for their rounds, or are queued `at_once`.

        Raises Overloaded where Redis is full.
        """
        with self._storing():
            accepted = self._submitter.accept(jobs, claim, at_once=at_once)
        self._note_accepted(jobs[0].lane, accepted)

    def open(self, job: OpenJob, claim: Claim | None = None) -> None:
        """Store a job that is to be filled. Raises Overloaded where Redis is full."""
        with self._storing():
            self._submitter.open(job, claim)

    def put_part(
        self,
        job: Job,
        number: int,
        items: Iterable[NewItem],
        trace: str,
        room: Room,
        *,
        version: str,
    ) -> PutPart:
        """Store and queue a part. Raises Overloaded where Redis is full, and as the store does."""
        with self._storing():
            put = self._submitter.put_part(
                *(job, number, items, trace),
                client=room.client.name,
                version=version,
                note=room.note_staged,
            )
        self._note_accepted(job.lane, put.accepted)
        return put

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OutOfMemoryError as error:
            self._load = None  # it said that there was room
            raise Overloaded(retry_after_seconds=NOTHING_DRAINS_SECONDS) from error
        except RedisError:
            self._load = None
            raise

    def _note_accepted(self, lane: Lane, accepted: Accepted | None) -> None:
        if accepted:
            self._images[lane] = accepted.images
            self._bytes = accepted.bytes_held
            self._new_bytes += accepted.new_bytes

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
        self._new_bytes = self._new_records = 0
        self._staged_at_read = self._staged
        self._staged_elsewhere_at_read = self.large_requests.staged_elsewhere(load.reservations)

    def _check_open(self, lane: Lane) -> None:
        """Raise LaneClosed if the operator lets the lane accept nothing."""
        load = self.load()
        if not load.order(lane).accepts and self._age() > _FRESH_FOR_REFUSAL_SECONDS:
            load = self._read_again()
        if not load.order(lane).accepts:
            raise LaneClosed(retry_after_seconds=NOTHING_DRAINS_SECONDS)

    def _budgets(self, load: Load, lane: Lane, need: Need, own: Room) -> Budgets:
        own_images = own.need.images if own.lane is lane else 0
        size = self._bytes + self._reserved_bytes - own.need.size
        before = own.reservation.before if own.reservation else NOTHING_BEFORE
        records = self._new_records + self._reserved_records - own.need.records
        new_elsewhere = max(0, self._bytes - load.bytes_held - self._new_bytes)
        in_memory_at_read = self._staged_at_read + min(
            new_elsewhere, self._staged_elsewhere_at_read
        )
        present = Present(
            images=self._images[lane] + self._reserved_images[lane] - own_images,
            all_images=self._images.total(),
            size=size + before.elsewhere,
            memory=load.memory_used
            + (size - load.bytes_held - in_memory_at_read)
            + before.unstored
            + records
            + footprint.RESULT * self._images.total(),
        )
        reserved = own.need._replace(images=own_images) if own.lane else NOTHING
        return self.limits.budgets(lane, need, present, load, reserved)

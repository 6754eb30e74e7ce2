"""Reading jobs and their items, for the web process and for webhooks. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from redis import Redis

from shared import keys
from shared.errors import JobNotFound
from shared.jobs import PART_SIZE, Item, Job, JobState, parts_of
from shared.records import claims, codec
from shared.records.claims import Claim
from shared.records.listing import all_jobs, owned_jobs
from shared.records.listing.position import Position

#: Fields of a job without which its items cannot be read.
_OF_JOB = ("total", "state", "min_score")


class Page(NamedTuple):
    """Jobs of one owner, the newest first."""

    jobs: list[Job]
    next_before: str | None  #: Where the next page begins; None if no older job follows.


class JobReader:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def get(self, job_id: str) -> Job:
        """A job's record. Raises JobNotFound."""
        fields: Any = self._redis.hgetall(keys.job(job_id))
        # An earlier release could leave a record with a single field.
        if b"total" not in fields:
            raise JobNotFound
        return _job(job_id, fields)

    def newest(self, owner: str, *, before: str = "", limit: int) -> Page:
        """At most `limit` jobs of `owner`, the newest first; with `before`, older than this place.

        `before` is `Page.next_before`, or the id of a listed job. Raises InvalidRequest if it is
        neither.
        """
        listed = owned_jobs.newest(self._redis, owner, before=before, limit=limit)
        pipe = self._redis.pipeline(transaction=False)
        for job_id in listed.job_ids:
            pipe.hgetall(keys.job(job_id))
        records = zip(listed.job_ids, pipe.execute(), strict=True)
        jobs = [_job(job_id, fields) for job_id, fields in records if b"total" in fields]
        return Page(jobs, listed.next_before)

    def newest_of_all(
        self, owners: Sequence[str], *, before: Position, at_once: int
    ) -> Iterator[list[Job]]:
        """The jobs of some owners that are before a position, the newest first.

        Each round trip reads `at_once` records and gives those that have not expired.
        """
        listed = all_jobs.newest(self._redis, owners, before=before)
        while positions := list(islice(listed, at_once)):
            pipe = self._redis.pipeline(transaction=False)
            for position in positions:
                pipe.hgetall(keys.job(position.job_id))
            records = zip(positions, pipe.execute(), strict=True)
            yield [_job(each.job_id, fields) for each, fields in records if b"total" in fields]

    def claimed(self, claim: Claim) -> str | None:
        """The id of the job that was made with a claim, if any. Raises IdempotencyKeyReused."""
        return claims.claimed(self._redis, claim)

    def items(self, job_id: str, start: int, stop: int) -> list[Item]:
        """Items `start` to `stop` - 1 in input order, as many as exist; one round trip."""
        numbers = range(start // PART_SIZE, parts_of(stop))
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(keys.job(job_id), *_OF_JOB)
        for number in numbers:
            pipe.hgetall(keys.part(job_id, number))
        job, *parts = pipe.execute()
        if not job[0]:
            return []
        read: list[Item] = []
        for number, fields in zip(numbers, parts, strict=True):
            read += _items(number, fields, *job)
        return [item for item in read if start <= item.index < stop]

    def items_at(self, job_id: str, indexes: Sequence[int]) -> list[Item]:
        """Items by index, in the order of `indexes`; one round trip. Raises JobNotFound."""
        positions: dict[int, set[int]] = {}
        for index in indexes:
            positions.setdefault(index // PART_SIZE, set()).add(index % PART_SIZE)
        names = {
            number: ["spec", *map(codec.outcome_field, ks)] for number, ks in positions.items()
        }
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(keys.job(job_id), *_OF_JOB)
        for number, fields in names.items():
            pipe.hmget(keys.part(job_id, number), fields)
        job, *replies = pipe.execute()
        if not job[0]:
            raise JobNotFound
        by_index: dict[int, Item] = {}
        for (number, fields), values in zip(names.items(), replies, strict=True):
            stored = {k.encode(): v for k, v in zip(fields, values, strict=True) if v}
            of_part = _items(number, stored, *job)
            by_index |= {item.index: item for item in of_part}
        return [by_index[index] for index in indexes if index in by_index]

    def finished(self, job_id: str, start: int, stop: int) -> list[int]:
        """Indexes of the `start`-th to the `stop` - 1-th item that finished, in that order.

        An item that was retried after a failure appears once for each time that it finished.
        """
        pipe = self._redis.pipeline(transaction=False)
        pipe.lrange(keys.finished(job_id), start, stop - 1)
        pipe.hmget(keys.job(job_id), "total", "succeeded", "failed")
        indexes, (total, succeeded, failed) = pipe.execute()
        # A job of one item has no list. This saves two commands in the most frequent commit.
        if total and int(total) == 1:
            return [0][: int(succeeded) + int(failed)][start:stop]
        return [int(index) for index in indexes]

    def part_items(self, job_id: str, number: int) -> list[Item]:
        """The items of one part; an empty list if the part has expired."""
        fields: Any = self._redis.hgetall(keys.part(job_id, number))
        return codec.items(number, fields, JobState.RUNNING)

    def digests(self, job_id: str, number: int) -> list[str] | None:
        """Digests of the pictures that a part stores, in order; None if the part is missing."""
        spec: Any = self._redis.hget(keys.part(job_id, number), "spec")
        return codec.digests(spec) if spec else None

    def sent_digest(self, job_id: str, index: int) -> str | None:
        """The digest of a picture, if the job has sent its bytes, and not only its digest."""
        number, position = divmod(index, PART_SIZE)
        names = ["spec", codec.outcome_field(position)]
        stored: Any = self._redis.hmget(keys.part(job_id, number), names)
        spec, outcome = stored
        return codec.sent_digest(position, spec, outcome) if spec else None

    def missing_parts(self, job_id: str) -> list[int]:
        """Numbers of the parts that an open job still waits for. Raises JobNotFound."""
        # No transaction: a full Redis refuses it, even if it only reads.
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(keys.job(job_id), "total", "received")
        pipe.get(keys.parts(job_id))
        (total, received), bitmap = pipe.execute()
        if not total:
            raise JobNotFound
        if received is None:
            return []
        bits = (byte >> (7 - bit) & 1 for byte in bitmap or b"" for bit in range(8))
        return [n for n, bit in zip(range(parts_of(int(total))), bits, strict=False) if not bit]


def _job(job_id: str, fields: Mapping[bytes, bytes]) -> Job:
    return codec.job(
        job_id, {codec.text(name): codec.text(value) for name, value in fields.items()}
    )


def _items(
    number: int,
    fields: dict[bytes, bytes],
    total: bytes,
    job_state: bytes,
    min_score: bytes | None,
) -> list[Item]:
    """The items of a part. The last three arguments are `_OF_JOB` as Redis has them."""
    state = codec.text(job_state)
    read = codec.items(number, fields, state, float(min_score or 0))
    return read or codec.missing_items(number, int(total), state)

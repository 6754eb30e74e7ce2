"""Stores the bytes of pictures in Redis, where they wait for a worker.

Images of many bytes are stored before the transaction that accepts their job. As its commands they
would all be in memory at once, here and in Redis, which does nothing else while it carries a
transaction out. So they are stored a few megabytes at a time, under the id of a job that does not
exist yet, and soon expire. The transaction lets them live on, and is carried out only if all of
them are still there. If the process dies before, nothing is accepted.

No account counts staged images. So they are deleted at once if their request is refused. A client
could otherwise fill Redis with requests that are refused late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError, RedisError

from shared import keys
from shared.jobs import PART_SIZE, NewItem, NewJob, parts_of
from shared.portions import portions
from shared.records import footprint

#: Called when images were staged, with the bytes of memory that they take in Redis.
Note = Callable[[int], object]

#: Bytes of images in one round trip, unless a single one has more. Redis does nothing else while it
#: stores them, so all other clients of Redis wait.
BYTES_AT_ONCE = 2 * 2**20

#: A job whose images have fewer bytes is stored in one round trip.
_LEAST_BYTES = 2**20

#: Staged images live this long. A job that is not accepted by then never will be.
_SECONDS = 120


def note_nothing(size: int) -> None:
    """A `Note` for a caller that does not count."""


def store_images(pipe: Pipeline, key: str, images: Mapping[int, bytes], seconds: int) -> None:
    """Add images, by position, to a transaction; they expire after `seconds`.

    Each image is a command of its own: both sides copy one large command several times.
    """
    for position, data in images.items():
        pipe.hset(key, str(position), data)
    pipe.expire(key, seconds)


@contextmanager
def staged(redis: Redis, job: NewJob, note: Note = note_nothing) -> Iterator[NewJob]:
    """Stage a job, which this block accepts; gives what `stage` does."""
    numbers = range(parts_of(len(job.items)))
    images = [keys.images(job.id, number) for number in numbers]
    with deleted_if_refused(redis, *images, unless=keys.job(job.id)):
        yield stage(redis, job, note)


@contextmanager
def deleted_if_refused(redis: Redis, *staged: str, unless: str | None = None) -> Iterator[None]:
    """Delete staged keys if this block raises an error, and the key `unless` does not exist.

    That key shows that the job was accepted. redis-py reports a lost answer to a transaction as if
    another client had changed a watched key. After other outages the staged keys expire.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemoryError) or not isinstance(error, (RedisError, OSError)):
            with suppress(RedisError):
                _delete(redis, staged, unless)
        raise


def _delete(redis: Redis, staged: Sequence[str], unless: str | None) -> None:
    """Delete keys, unless another key exists. If it comes meanwhile, nothing is deleted."""
    with redis.pipeline(transaction=True) as pipe:
        if unless:
            pipe.watch(unless)  # type: ignore[no-untyped-call]
            if pipe.exists(unless):
                return
            pipe.multi()
        pipe.unlink(*staged)
        pipe.execute()


def stage(redis: Redis, job: NewJob, note: Note = note_nothing) -> NewJob:
    """Store the images of a job if they have many bytes; gives the job without these bytes."""
    if sum(item.size for item in job.items if not item.outcome) <= _LEAST_BYTES:
        return job
    items: list[NewItem] = []
    for few in portions(job.items, size=lambda item: len(item.data), most=BYTES_AT_ONCE):
        _store(redis, job.id, len(items), few)
        items += [_without_bytes(item) for item in few]
        note(sum(footprint.of_image(item.size) for item in few if not item.outcome))
    return replace(job, items=items)


def staged_keys(jobs: Sequence[NewJob]) -> list[str]:
    """The keys of images that `stage` has stored."""
    return [
        keys.images(job.id, number)
        for job in jobs
        for number in sorted({k // PART_SIZE for k, item in enumerate(job.items) if item.stored})
    ]


def _store(redis: Redis, job_id: str, first: int, items: Sequence[NewItem]) -> None:
    """Store images; `first` is the index of the first item in its job."""
    pipe = redis.pipeline(transaction=True)
    for number, images in _by_part(first, items):
        store_images(pipe, keys.images(job_id, number), images, _SECONDS)
    pipe.execute()


def _by_part(first: int, items: Sequence[NewItem]) -> Iterator[tuple[int, dict[int, bytes]]]:
    """The number of each part, and its images by position."""
    parts: dict[int, dict[int, bytes]] = {}
    for index, item in enumerate(items, first):
        if not item.outcome:
            parts.setdefault(index // PART_SIZE, {})[index % PART_SIZE] = item.data
    yield from parts.items()


def _without_bytes(item: NewItem) -> NewItem:
    return item if item.outcome else replace(item, data=b"", stored=len(item.data))

"""Thumbnails: small versions of pictures, for jobs that ask for them.

Pictures are deleted when their results are written. The page shows the thumbnails when a job is
opened again. A thumbnail has the digest of its picture as its key, so two jobs with the same
picture share it. Only the owner of a job that has sent the bytes of the picture gets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from redis import Redis
from redis.client import Pipeline

from shared import keys
from shared.spare_memory import SpareMemory

#: Admission keeps memory for the thumbnails that jobs have asked for, so this is rarely reached.
_MEMORY_SHARE = 0.95

#: The largest thumbnail, in bytes.
MOST_BYTES = 8 * 2**10


class Thumbnails:
    def __init__(self, redis: Redis, *, ttl_seconds: int) -> None:
        """`ttl_seconds` is the time to live of results, which begins at the end of a job."""
        self._redis = redis
        self._memory = SpareMemory(redis, share=_MEMORY_SHARE)
        self._seconds = 2 * ttl_seconds  # as long as the records of a job that is not done

    def put(self, pipe: Pipeline, jpegs: Mapping[str, bytes]) -> None:
        """Add thumbnails, by digest, to the pipeline of a commit, while there is memory."""
        if not jpegs or not self._memory.there_is():
            return
        for digest, jpeg in jpegs.items():
            pipe.set(keys.thumbnail(digest), jpeg, ex=self._seconds)

    def missing(self, digests: Sequence[str]) -> set[str]:
        """The digests without a thumbnail; one round trip. Raises RedisError."""
        pipe = self._redis.pipeline(transaction=False)
        for digest in digests:
            pipe.exists(keys.thumbnail(digest))
        return {
            digest for digest, is_here in zip(digests, pipe.execute(), strict=True) if not is_here
        }

    def get(self, digest: str) -> bytes | None:
        """A JPEG, or None if there is none."""
        jpeg = self._redis.get(keys.thumbnail(digest))
        return jpeg if isinstance(jpeg, bytes) else None

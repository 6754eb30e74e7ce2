"""Idempotency claims: a client's key for a request. The same key again means the same job.

The transaction that makes the job writes the claim. So two requests with one key at the same moment
make one job, and a process that dies has written both or neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from redis import Redis
from redis.client import Pipeline

from shared import keys
from shared.errors import IdempotencyKeyReused, Unavailable


class Claim(NamedTuple):
    owner: str  #: Name of the API key; empty if keys are off. Claims of other owners are separate.
    key: str  #: The client's key for the request.
    fingerprint: str  #: A hash of all that the request asks for.
    #: The same without `thumbnails`, if the request asks for them: an earlier release did not count
    #: them. Otherwise empty.
    without_thumbnails: str = ""

    @property
    def name(self) -> str:
        """The Redis key of the claim."""
        return keys.idempotency(self.owner, self.key)


class AlreadyClaimed(Exception):
    """The request was made before, and its job exists."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


def claimed(redis: Redis, claim: Claim) -> str | None:
    """The id of the job that was made with this key; None if there is none, or it has expired.

    Raises IdempotencyKeyReused if the job was made by a request with another fingerprint.
    """
    stored = redis.get(claim.name)
    if not isinstance(stored, bytes):
        return None
    job_id, _, fingerprint = stored.decode().partition(" ")
    if not redis.exists(keys.job(job_id)):
        return None
    if fingerprint == claim.fingerprint:
        return job_id
    if fingerprint == claim.without_thumbnails and redis.hexists(keys.job(job_id), "thumbnails"):
        return job_id
    raise IdempotencyKeyReused


def begin(
    redis: Redis, claim: Claim | None, job_id: str, *, ttl: int, needed: Sequence[str] = ()
) -> Pipeline:
    """Begin a transaction that makes a job, and write its claim in it if there is one.

    The transaction is for keys `needed` that exist already. Raises AlreadyClaimed and
    IdempotencyKeyReused, and Unavailable if a needed key has expired. The transaction itself raises
    WatchError if another request with the same key is faster, or a needed key expires.
    """
    pipe = redis.pipeline(transaction=True)
    watched = [*([claim.name] if claim else []), *needed]
    if not watched:
        return pipe
    try:
        pipe.watch(*watched)  # type: ignore[no-untyped-call]
        if needed and pipe.exists(*needed) < len(needed):
            raise Unavailable("The pictures took too long to arrive. Send them again.")
        if claim and (earlier := claimed(pipe, claim)):
            raise AlreadyClaimed(earlier)
    except BaseException:
        pipe.reset()  # because the connection still watches the keys
        raise
    pipe.multi()
    if claim:
        pipe.set(claim.name, value(claim, job_id), ex=2 * ttl)
        pipe.hset(keys.job(job_id), "claim", claim.name)
    return pipe


def value(claim: Claim, job_id: str) -> str:
    """The value of the claim's key: its job."""
    return f"{job_id} {claim.fingerprint}"

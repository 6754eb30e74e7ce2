"""A key that a client made up for a request: the same key again means the same job.

It is written in the transaction that makes the job, so two requests with one key that come at the
same moment make one job, and a process that dies has made both or neither.
"""

from __future__ import annotations

from typing import NamedTuple

from redis import Redis
from redis.client import Pipeline

from shared import keys
from shared.errors import IdempotencyKeyReused


class Claim(NamedTuple):
    owner: str  #: Name of the API key; empty where keys are off. Keys of different owners differ.
    key: str
    fingerprint: str  #: Of all that the request asks for.

    @property
    def name(self) -> str:
        """Where it is kept in Redis."""
        return keys.idempotency(self.owner, self.key)


class AlreadyClaimed(Exception):
    """The job exists: the request was made before."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


def claimed(redis: Redis, claim: Claim) -> str | None:
    """Id of the job that was made with this key; None where there is none, or no more.

    Raises IdempotencyKeyReused where another request was made with it.
    """
    found = redis.get(claim.name)
    if not isinstance(found, bytes):
        return None
    job_id, _, fingerprint = found.decode().partition(" ")
    if not redis.exists(keys.job(job_id)):
        return None
    if fingerprint != claim.fingerprint:
        raise IdempotencyKeyReused
    return job_id


def begin(redis: Redis, claim: Claim | None, job_id: str, *, ttl: int) -> Pipeline:
    """A transaction that makes a job, and keeps its claim where there is one.

    Raises AlreadyClaimed; executing it raises WatchError where another was faster.
    """
    pipe = redis.pipeline(transaction=True)
    if not claim:
        return pipe
    try:
        pipe.watch(claim.name)  # type: ignore[no-untyped-call]
        if earlier := claimed(pipe, claim):
            raise AlreadyClaimed(earlier)
    except BaseException:
        pipe.reset()  # the connection still watches
        raise
    pipe.multi()
    pipe.set(claim.name, value(claim, job_id), ex=2 * ttl)
    pipe.hset(keys.job(job_id), "claim", claim.name)
    return pipe


def value(claim: Claim, job_id: str) -> str:
    return f"{job_id} {claim.fingerprint}"

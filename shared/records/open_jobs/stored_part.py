"""A part that is here already, when a client sends it again."""

from __future__ import annotations

from typing import Any

from redis import Redis

from shared import keys
from shared.jobs import Job, parts_of


def stored_part(redis: Redis, job: Job, number: int) -> list[Any]:
    """How many parts are missing, and the `spec` of this one; empty if the part is not here.

    A client may send other pictures as such a part again and again. They need not be stored.
    """
    pipe = redis.pipeline(transaction=False)
    pipe.getbit(keys.parts(job.id), number)
    pipe.bitcount(keys.parts(job.id))
    pipe.hget(keys.part(job.id, number), "spec")
    is_here, arrived, spec = pipe.execute()
    return [parts_of(job.total) - arrived, spec] if is_here and spec else []

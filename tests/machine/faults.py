"""Faults that the state machine must find, as changes to the scripts.

The first three were in the product. An earlier machine found them.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    name: str
    changes: tuple[tuple[str, str], ...]  #: Text of scripts, and what is put in its place.
    message: str  #: A pattern for the failure.
    seed: int  #: A seed that finds it soon.


FAULTS = (
    Fault(
        "a retry renews no expiry",
        (
            (
                "redis.call('EXPIRE', images, ttl)\nredis.call('HSET', held, part, bytes, left",
                "redis.call('HSET', held, part, bytes, left",
            ),
            ("expire(job, job_id, tonumber(total), job_claim, now, 2 * ttl)\nif claim", "if claim"),
            ("not state or state == 'cancelled' or redis.call('EXISTS', part)", "nil"),
        ),
        "never expires|before its time",
        9,
    ),
    Fault(
        "a part that waits for its round makes the record of its expired job anew",
        (
            (
                "local message = state and redis.call('HGET', part, 'message')",
                "local message = redis.call('HGET', part, 'message')",
            ),
        ),
        "never expires|half a record|are charged",
        23,
    ),
    Fault(
        "nobody knows how many images of an expired part were left",
        (("local left = redis.call('HGET', held, left_field(part))", "local left = nil"),),
        "images are outstanding",
        1,
    ),
    Fault(
        "a second commit overwrites the first",
        (
            (
                "redis.call('HSETNX', part, 'r' .. position, outcome) == 1",
                "redis.call('HSET', part, 'r' .. position, outcome) == 1",
            ),
        ),
        "has changed",
        0,
    ),
    Fault(
        "an overdue part is not queued again",
        (
            (
                "redis.call('ZADD', outstanding, deadline, member)\n"
                "redis.call('LPUSH', queue, message)\n"
                "return 1",
                "redis.call('ZADD', outstanding, deadline, member)\nreturn 1",
            ),
        ),
        "stuck",
        0,
    ),
    Fault(
        "no round comes for a client that shares a lane again",
        (
            (
                "if not redis.call('ZSCORE', clients, client) then",
                "if redis.call('EXISTS', clients) == 0 then",
            ),
        ),
        "no round comes for the parts",
        0,
    ),
    Fault(
        "a cancelled job notifies nobody",
        (("add_webhook(webhook, job_id, now)\nredis.call('PUBLISH'", "redis.call('PUBLISH'"),),
        "nobody will be notified",
        0,
    ),
    Fault(
        "images that are committed stay in the account of their client",
        (("charge(part, -#positions, 0 - bytes)", ""),),
        "images of .* are charged",
        0,
    ),
    Fault(
        "images that are committed keep their bytes",
        (("redis.call('HDEL', images, unpack(positions))", ""),),
        "holds .* bytes, and .* are counted",
        0,
    ),
    Fault(
        "a part that is released stays in the account of its client",
        (
            (
                "\nend_charge(part)\nend\nlocal function give_back_images",
                "\nend\nlocal function give_back_images",
            ),
        ),
        "bytes of .* are charged",
        0,
    ),
    Fault(
        "a retried image is in no account",
        (("charge(part, 1, bytes - counted, lane, redis.call('HGET', job, 'client'))", ""),),
        "images of .* are charged|bytes of .* are charged",
        9,
    ),
    Fault(
        "records that live on leave the account of their client",
        (("keep(job, 0, now, thumbnails and 2 * seconds or seconds)", ""),),
        "are counted",
        0,
    ),
)

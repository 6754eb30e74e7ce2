"""The clients whose parts wait in Redis, in a queue or for their round."""

from __future__ import annotations

from collections.abc import Iterable

from redis import Redis

from shared import keys
from shared.jobs import Lane
from shared.message import client_of_ordinary

#: Clients and messages that are looked at in each queue: those that come next.
_MOST = 16


def next_clients(redis: Redis, lane: Lane, versions: Iterable[str]) -> set[str]:
    """The clients that come next in the queues of these model versions, without their slow parts.

    It takes one round trip. Parts of an earlier release may name no client.
    """
    pipe = redis.pipeline(transaction=False)
    for version in versions:
        pipe.zrange(keys.clients(lane, version), 0, _MOST - 1)
        pipe.lrange(keys.queue(lane, version), -_MOST, -1)
    replies: list[list[bytes]] = pipe.execute()
    names = {name.decode() for clients in replies[::2] for name in clients}
    names = {name for name in names if not name.startswith(keys.slow(""))}
    names |= {client_of_ordinary(text) for texts in replies[1::2] for text in texts}
    return names - {""}

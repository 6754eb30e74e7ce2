"""The clients whose parts wait in Redis, in a queue or for their round."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from redis import Redis

from shared import keys
from shared.jobs import Lane
from shared.message import ALONE, CLIENT, IMAGES

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
    return (names | set(_of_messages(text for texts in replies[1::2] for text in texts))) - {""}


def _of_messages(texts: Iterable[bytes]) -> Iterator[str]:
    """The client of each message that need not run alone."""
    for text in texts:
        headers: dict[str, Any] = json.loads(text)["headers"]
        if headers.get(IMAGES, 1) < ALONE:
            yield headers.get(CLIENT, "")

"""Reads and writes snapshots of all keys in Redis, as JSON.

`golden/<release>.json` holds the records that a release wrote. They stay as they are: a later one
must be able to go on with them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from redis import Redis

FOLDER = Path(__file__).parent / "golden"


def restore(redis: Redis, release: str) -> float:
    """Write a release's records into an empty Redis; gives the Unix time of the snapshot."""
    snapshot = json.loads((FOLDER / f"{release}.json").read_text())
    for key, stored in snapshot["keys"].items():
        _restore(redis, key, stored)
    return float(snapshot["time"])


def _restore(redis: Redis, key: str, stored: dict[str, Any]) -> None:
    value = stored["value"]
    match stored["type"]:
        case "string":
            redis.set(key, _bytes(value))
        case "hash":
            redis.hset(key, mapping={name: _bytes(each) for name, each in value.items()})
        case "list":
            redis.rpush(key, *map(_bytes, value))
        case "zset":
            redis.zadd(key, value)
    if stored["ttl"] > 0:
        redis.expire(key, stored["ttl"])


def _bytes(text: str) -> bytes:
    """JSON has no bytes, so the snapshot has a character for each of them."""
    return text.encode("latin-1")

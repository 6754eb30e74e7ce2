"""The account of a client: what the service holds and keeps for it, and what it has sent today.

The scripts that accept, commit and release parts keep the accounts, so they are right whenever a
process dies. `charges` says for each part what its client is charged. So a part can be given back
after the records of its job have expired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from shared import clock, keys
from shared.jobs import Lane
from shared.records.scripts import Script

DAY = 86_400  #: Seconds.
HOUR = 3_600

#: Charges that one pass examines.
_EXAMINED = 500

_ACCEPT = Script("accounts/accept")
_END_CHARGES = Script("accounts/end_charges")


@dataclass(frozen=True, kw_only=True)
class Account:
    images: Mapping[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    """Outstanding images of each lane."""
    size: int = 0  #: Bytes of these images.
    kept: int = 0  #: Bytes of records, about.
    today: int = 0  #: Images that were accepted on this day, which is one of UTC.

    @property
    def all_images(self) -> int:
        return sum(self.images.values())


class Entry(NamedTuple):
    """A part that is accepted, or a job without parts."""

    job: str  #: The key of the job.
    part: str  #: The key of the part, or empty.
    client: str  #: Its name, or empty: then nothing is counted.
    items: int = 0
    pending: int = 0  #: Images that need a worker.
    size: int = 0  #: Bytes of these images.
    kept: int = 0  #: Bytes of the records, about.


def accept(pipe: Pipeline, lane: Lane, entries: Iterable[Entry], *, now: float, ttl: int) -> None:
    """Add to a transaction that stores parts, as its last command: count them."""
    if rows := [entry for entry in entries if entry.client]:
        _ACCEPT(pipe, rows, held=keys.HELD, lane=lane, now=now, ttl=ttl, **times(now, ttl))


def times(now: float, ttl: int) -> dict[str, int]:
    """Arguments of scripts: the day, and how long an account lives at least."""
    return {"day": int(now // DAY), "life": 2 * ttl + DAY}


def read(redis: Redis, client: str) -> Account:
    """The account of a client, in one round trip."""
    fields: Any = redis.hgetall(keys.account(client))
    return _account(fields, clock.now(redis))


def _account(fields: Mapping[bytes, bytes], now: float) -> Account:
    numbers = {name.decode(): int(value) for name, value in fields.items()}
    hour = int(now // HOUR)
    kept = {name: size for name, size in numbers.items() if name.startswith("kept:")}
    return Account(
        images={lane: numbers.get(lane, 0) for lane in Lane},
        size=numbers.get("bytes", 0),
        kept=sum(size for name, size in kept.items() if int(name[5:]) >= hour),
        today=numbers.get("today", 0) if numbers.get("day") == now // DAY else 0,
    )


def end_of_day(now: float) -> float:
    """Midnight UTC, Unix seconds."""
    return (now // DAY + 1) * DAY


class ChargeCheck:
    """Ends the charges for parts that a worker of an earlier release has committed."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._cursor = 0

    def go_on(self) -> None:
        """Examine some of the charges, and the next ones at the next call."""
        page: Any = self._redis.hscan(keys.CHARGES, self._cursor, count=_EXAMINED)
        self._cursor, charges = page
        if charges:
            _END_CHARGES(self._redis, [(part,) for part in charges], held=keys.HELD)

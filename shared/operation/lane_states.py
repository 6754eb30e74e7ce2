"""Whether a lane accepts submissions, and whether its workers take parts. The operator decides.

Web reads it with the load, and each worker reads it every second. Both go on as before while Redis
does not answer. Programs of an earlier release do not read it: they accept, and they take parts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from redis import Redis
from redis.client import Pipeline

from shared import clock, keys
from shared.jobs import Lane
from shared.known_fields import known_fields


class LaneState(StrEnum):
    OPEN = "open"
    PAUSED = "paused"  #: It accepts submissions, and workers take no parts.
    DRAINING = "draining"  #: It refuses submissions, and workers take the rest.
    CLOSED = "closed"  #: It refuses submissions, and workers take no parts.

    @property
    def accepts(self) -> bool:
        return self in (LaneState.OPEN, LaneState.PAUSED)

    @property
    def works(self) -> bool:
        return self in (LaneState.OPEN, LaneState.DRAINING)


@dataclass(frozen=True, kw_only=True)
class LaneOrder:
    """What the operator has last decided for a lane."""

    accepts: bool = True
    works: bool = True
    since: float | None = None  #: Unix seconds; None if nothing was ever decided.
    by: str = ""  #: The name of the operator's key; empty if keys were off.
    reason: str = ""
    format: int = 1  #: Of this record. A reader ignores fields that it does not know.

    @property
    def state(self) -> LaneState:
        return next(
            state
            for state in LaneState
            if (state.accepts, state.works) == (self.accepts, self.works)
        )


OPEN = LaneOrder()


def decide(redis: Redis, lane: Lane, state: LaneState, *, by: str, reason: str) -> LaneOrder:
    """Store what the operator wants of a lane. Workers and web obey within two seconds."""
    order = LaneOrder(
        accepts=state.accepts, works=state.works, since=clock.now(redis), by=by, reason=reason
    )
    redis.hset(keys.LANE_STATES, lane, json.dumps(asdict(order)))
    return order


def read(redis: Redis, lane: Lane) -> LaneOrder:
    return _order(redis.hget(keys.LANE_STATES, lane))


def ask(pipe: Pipeline) -> None:
    """Add to a pipeline: read the orders of all lanes. `orders` reads the reply."""
    pipe.hmget(keys.LANE_STATES, list(Lane))


def orders(reply: Sequence[Any]) -> dict[Lane, LaneOrder]:
    return dict(zip(Lane, map(_order, reply), strict=True))


def _order(text: Any) -> LaneOrder:
    return LaneOrder(**known_fields(LaneOrder, json.loads(text))) if text else OPEN

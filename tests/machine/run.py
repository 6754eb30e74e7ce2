"""Runs the state machine: so many examples, from a seed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from tests.machine import world
from tests.machine.machine import Records

_STEPS = 50  #: Of an example.


def machine_on(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> type[Records]:
    """A machine on this Redis, which it empties. `monkeypatch` makes the time virtual."""
    virtual = world.VirtualTime(redis)
    world.rule(monkeypatch, virtual)
    world.shrink(monkeypatch)
    return type("Machine", (Records,), {"redis": redis, "redis_url": redis_url, "time": virtual})


def explore(machine: type[Records], number: int, *, examples: int, shrink: bool = True) -> None:
    """Run examples from the seed `number`. Raises what a step or a look has raised.

    With `shrink` the steps of the failure are first made as few as possible.
    """
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=_STEPS,
            phases=phases,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def explore_for(machine: type[Records], seconds: float, first: int) -> Iterator[int]:
    """Run seed after seed for so long; gives each seed before it is run."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        yield first
        explore(machine, first, examples=20)
        first += 1

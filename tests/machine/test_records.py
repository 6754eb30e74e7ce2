"""The records keep their promises whatever happens, as far as the state machine gets.

    python -m tests.machine --minutes 60

runs it for an hour. The seeds of the tests are fixed, so a test runs the same examples each time.
"""

from __future__ import annotations


import pytest
from redis import Redis

from tests.machine import world
from tests.machine.faults import FAULTS, Fault
from tests.machine.machine import Records
from tests.machine.run import explore, explore_for, machine_on


@pytest.fixture
def machine(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> type[Records]:
    return machine_on(redis, redis_url, monkeypatch)


@pytest.mark.parametrize("seed", [1, 2])
def test_all_promises_are_kept(machine: type[Records], seed: int) -> None:
    explore(machine, seed, examples=25)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_machine_finds_a_fault(
    machine: type[Records], monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    for old, new in fault.changes:
        world.replace(monkeypatch, old, new)
    with pytest.raises(AssertionError, match=fault.message):
        for seed in range(fault.seed, fault.seed + 20):
            explore(machine, seed, examples=20, shrink=False)


@pytest.mark.long
def test_all_promises_are_kept_in_a_longer_run(machine: type[Records]) -> None:
    """Fixed seeds. `make machine` explores new ones for an hour."""
    for seed in explore_for(machine, 20, first=1795867508):
        print(f"python -m tests.machine --seed {seed}")  # pytest shows it if the seed fails

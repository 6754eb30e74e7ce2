"""A real worker is paused while it is busy, and loses its connection or a process meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from shared.jobs import Lane
from shared.operation import lane_states
from shared.operation.lane_states import LaneState
from tests.workers.batching.running_worker import Worker, running_worker, until


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


@pytest.fixture
def worker(redis_url: str, redis: Redis, log: Path) -> Iterator[Worker]:
    with running_worker(redis_url, redis, log) as worker:
        yield worker


def set_state(redis: Redis, state: LaneState) -> None:
    lane_states.decide(redis, Lane.INTERACTIVE, state, by="", reason="")


def nothing(worker: Worker) -> None:
    pass


def cut_connections(worker: Worker) -> None:
    worker.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def kill_a_process(worker: Worker) -> None:
    main = worker.process.pid
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)


@pytest.mark.parametrize("strike", [nothing, cut_connections, kill_a_process])
def test_a_paused_worker_gives_back_what_waits_and_does_all_of_it_later(
    worker: Worker, redis: Redis, log: Path, strike: Callable[[Worker], None]
) -> None:
    worker.occupy()
    names = [f"{k}" for k in range(20)]
    for name in names:
        worker.send(name)
    until(lambda: redis.hlen("unacked") == 22)

    set_state(redis, LaneState.PAUSED)
    until(lambda: "takes no parts" in log.read_text())
    until(lambda: redis.llen("interactive") == 20 and redis.hlen("unacked") == 2)
    strike(worker)
    redis.set("open", 1)
    until(lambda: not redis.hlen("unacked"))
    later = "later"
    worker.send(later)
    assert redis.llen("interactive") >= 21 and not {*names, later} & {*worker.finished()}

    set_state(redis, LaneState.OPEN)
    until(lambda: {*names, later} <= {*worker.finished()})
    until(worker.settled)
    if strike is nothing:  # the others put the messages of a batch back, too
        order = [name for run in worker.began() for name in run["names"] if "busy" not in name]
        # Two processes note their batches. One of them may be late, so single places say nothing.
        oldest, newest = (sum(map(order.index, each)) for each in (names[:8], names[-8:]))
        assert oldest < newest, "the oldest messages are in the first batches"
    worker.has_two_free_processes()

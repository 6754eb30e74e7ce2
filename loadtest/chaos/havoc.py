"""Kills and freezes programs, cuts connections and pauses lanes, at random moments."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from redis.exceptions import RedisError

from loadtest.chaos.supervisor import Supervisor
from shared.jobs import Lane
from shared.operation import lane_states
from shared.operation.lane_states import LaneState
from tests.support.local_service import LocalService


class Havoc:
    def __init__(
        self, service: LocalService, supervisor: Supervisor, chance: random.Random
    ) -> None:
        #: How often each kind of strike has hit something.
        self.done: Counter[str] = Counter()
        self._service = service
        self._supervisor = supervisor
        self._chance = chance
        self._strikes: list[Callable[[], None]] = [
            self.kill_pool_process,
            self.kill_pool_process,
            self.kill_worker,
            self.kill_web,
            self.kill_webhooks,
            self.kill_redis,
            self.freeze_worker,
            self.freeze_redis,
            self.cut_connections,
            self.pause_lane,
        ]
        self._paused: Lane | None = None
        self._next: list[Callable[[], None]] = []

    def strike(self) -> None:
        time.sleep(self._chance.uniform(0.5, 2.0))
        # Each kind comes once before any comes again, so that a short run has every kind.
        self._next = self._next or self._chance.sample(self._strikes, k=len(self._strikes))
        strike = self._next.pop()
        paused, self._paused = self._paused, None
        try:
            strike()
            self.done[strike.__name__] += 1
        except (RedisError, ProcessLookupError, IndexError, FileNotFoundError):
            pass  # The program was down already.
        self._supervisor.repair()
        if paused:  # during this strike
            self._open(paused)

    def end(self) -> None:
        """Open the lane that the last strike has paused."""
        if self._paused:
            self._open(self._paused)

    @property
    def struck_all(self) -> bool:
        """Whether each kind of strike has hit something."""
        return self.done.keys() == {strike.__name__ for strike in self._strikes}

    def kill_pool_process(self) -> None:
        lane = self._lane()
        # Celery ends a worker whose pool process dies before the worker is ready.
        if not self._supervisor.is_ready(lane):
            raise ProcessLookupError(f"the worker of {lane} still starts")
        os.kill(self._chance.choice(self._service.pool_processes(lane)), signal.SIGKILL)

    def kill_worker(self) -> None:
        self._supervisor.kill(self._lane())

    def kill_web(self) -> None:
        self._supervisor.kill("web")

    def kill_webhooks(self) -> None:
        self._supervisor.kill("webhooks")

    def kill_redis(self) -> None:
        self._service.stop_redis(signal.SIGKILL)
        time.sleep(self._chance.uniform(0.1, 1.0))
        self._service.start_redis()

    def freeze_worker(self) -> None:
        self._freeze(self._service.processes[self._lane()].pid)

    def freeze_redis(self) -> None:
        self._freeze(self._service.redis_process())

    def cut_connections(self) -> None:
        redis = self._service.redis()
        for kind in ("normal", "pubsub"):
            redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        redis.close()

    def pause_lane(self) -> None:
        """As an operator does. The lane is open again after the next strike."""
        lane = self._lane()
        self._set(lane, LaneState.PAUSED)
        self._paused = lane

    def _open(self, lane: Lane) -> None:
        while True:
            try:
                return self._set(lane, LaneState.OPEN)
            except RedisError:
                time.sleep(0.1)

    def _set(self, lane: Lane, state: LaneState) -> None:
        redis = self._service.redis()
        lane_states.decide(redis, lane, state, by="chaos", reason="")
        redis.close()

    def _freeze(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.5, 2.5))
        os.kill(pid, signal.SIGCONT)

    def _lane(self) -> Lane:
        return self._chance.choice(list(Lane))

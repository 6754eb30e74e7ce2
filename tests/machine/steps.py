"""A step is what one process does. Another process may interrupt it, or it may die."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from hypothesis.stateful import RuleBasedStateMachine, invariant
from redis import Redis

from shared.errors import JobNotFound
from tests.machine import world
from tests.machine.checks import totals
from tests.machine.checks import looks
from tests.machine.choices import Cut
from tests.machine.processes import die
from tests.machine.promised import Promised
from tests.machine.service import Service
from tests.machine.checks.snapshot import Snapshot


class Steps(RuleBasedStateMachine):
    redis: Redis
    redis_url: str
    time: world.VirtualTime

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.promised = Promised(self.time.now)
        self.service = Service(self.redis_url, self.redis, self.promised)
        self.jobs = self.service.jobs
        self.twin: Callable[[], None] = lambda: None  #: Sends the present request once more.
        self.is_sound = True  #: No look has failed.

    @invariant()
    def all_promises_are_kept(self) -> None:
        self.is_sound = False
        snapshot = Snapshot(self.redis)
        looks.look(self.promised, snapshot, self.time.now)
        totals.check(self.promised, snapshot, self.time.now)
        self.is_sound = True

    def _call(self, action: Callable[[], object], cut: Cut | None) -> bool:
        """Let a process act; False if it died on the way."""
        if cut:
            self.service.process.interrupt(after=cut.after, by=lambda: self._interrupt(cut.by))
        return self.service.call(action)

    def _interrupt(self, by: str) -> None:
        if by == "death":
            die()
        elif by == "expiry":
            self.promised.paused = True
            self.time.until_expiry()
        elif by == "twin":
            self.twin()
        elif by == "cancel":
            for job in list(self.promised)[-1:]:
                with suppress(JobNotFound):
                    self.service.others.canceller.cancel(job.id)
        else:
            self.service.by_another(by)

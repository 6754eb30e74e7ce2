"""A state machine over the records of jobs: steps in any order, and a look after each.

Hypothesis chooses the steps. Each step is what one process does: a web process, a worker, the
reconciler, a worker of webhooks. A `Cut` lets it die after some of its commands to Redis, or lets
another process act in between. At the end all failures stop, and all accepted work must be done.
"""

from __future__ import annotations

from http import HTTPStatus

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.jobs import Lane
from tests.machine import ending
from tests.machine.choices import Cut, cuts, lanes, newest, picks, positions
from tests.machine.web import WebSteps
from workers.webhooks.post import Answer


class Records(WebSteps):
    # Workers

    @rule(lane=lanes, again=st.booleans(), cut=cuts)
    def start(self, lane: Lane, again: bool, cut: Cut | None) -> None:
        refs = self.service.take(lane, again=again)
        self._call(lambda: self.service.start(lane, refs), cut)

    @rule(pick=picks, skip=positions, cut=cuts)
    @precondition(lambda self: self.service.started)
    def commit(self, pick: int, skip: frozenset[int], cut: Cut | None) -> None:
        """Whole or in part, for the first time or again, in time or by a zombie."""
        started = newest(self.service.started, pick)
        service = self.service
        self._call(lambda: service.commit(started, self.jobs, service.client, skip), cut)

    @rule(lane=lanes, skip=positions)
    def do_half(self, lane: Lane, skip: frozenset[int]) -> None:
        """A worker commits some images of what it has started, and dies."""
        self.service.work(lane, messages=1, skip=skip)

    @rule(pick=picks, slow=positions, cut=cuts)
    @precondition(lambda self: self.service.started)
    def put_back(self, pick: int, slow: frozenset[int], cut: Cut | None) -> None:
        """A started part for which the batch had no time. A worker does this at most once."""
        started = self.service.started.pop(-1 - pick % len(self.service.started))
        work = started.work
        left = {work.ref: slow & work.digests.keys()}
        self._call(lambda: self.jobs.parts.put_back(left, started.lane), cut)

    @rule(lane=lanes)
    def lose_a_message(self, lane: Lane) -> None:
        self.service.take(lane)

    @rule(lane=lanes)
    def work(self, lane: Lane) -> None:
        """A healthy worker does all that is queued."""
        self.service.work(lane)

    @rule(lane=lanes, times=st.integers(1, 5))
    def wear_out(self, lane: Lane, times: int) -> None:
        """Workers die on all that is queued, and the reconciler recovers it."""
        for _ in range(times):
            while refs := self.service.take(lane):
                self.service.start(lane, refs)
            self.time.advance(1)
            self.jobs.recovery.recover(lane)

    @rule(lane=lanes, cut=cuts)
    def recover(self, lane: Lane, cut: Cut | None) -> None:
        self._call(lambda: self.jobs.recovery.recover(lane), cut)

    # Webhooks

    @rule(most=st.integers(1, 3), cut=cuts)
    def lease(self, most: int, cut: Cut | None) -> None:
        self._call(lambda: self.service.leases.extend(self.service.delivery.lease(most)), cut)

    @rule(
        pick=picks,
        answer=st.sampled_from([Answer(HTTPStatus.OK, 0), Answer(HTTPStatus.GONE, 0), "silence"]),
        cut=cuts,
    )
    @precondition(lambda self: self.service.leases)
    def deliver(self, pick: int, answer: Answer | str, cut: Cut | None) -> None:
        lease = newest(self.service.leases, pick)
        self.service.delivery.answer = answer
        self._call(lambda: self.service.delivery.deliver(lease), cut)

    # Time

    @rule(steps=st.sampled_from([1, 1, 2, 4, 10, 20, 40]))
    def wait(self, steps: int) -> None:
        self.time.advance(steps)

    @rule(pattern=st.sampled_from(["*", "job:*", "job:*", "part:*", "images:*", "dead_image:*"]))
    def wait_until_a_key_expires(self, pattern: str) -> None:
        self.time.until_expiry(pattern)

    # The end

    def teardown(self) -> None:
        try:
            if self.is_sound:  # else the failure that was found would be hidden
                ending.all_work_is_done(self)
                ending.nothing_is_left(self)
        finally:
            self.service.pool.disconnect()

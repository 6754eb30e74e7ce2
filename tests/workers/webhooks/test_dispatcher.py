"""The dispatcher queues the webhooks that are due. Redis may refuse to take a message."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError

from shared.records.webhooks.outbox import Lease
from workers.webhooks.dispatcher import Dispatcher

FULL = OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'.")


class Outbox:
    """Webhooks that are due, and a queue that may refuse them."""

    def __init__(self, *due: str) -> None:
        self.due = list(due)
        self.queue: list[str] = []
        self.refusal: Exception | None = None

    def lease(self, most: int) -> list[Lease]:
        leased, self.due = self.due[:most], self.due[most:]
        return [Lease(each, 80.0) for each in leased]

    def put(self, lease: Lease) -> None:
        if self.refusal:
            raise self.refusal
        self.queue.append(lease.job_id)

    def dispatcher(self, threads: int = 4) -> Dispatcher:
        return Dispatcher(self.lease, lambda: len(self.queue), self.put, threads=threads)


@pytest.mark.parametrize("refusal", [FULL, OperationalError("no connection")])
def test_leased_webhooks_are_queued_as_soon_as_redis_takes_them(refusal: Exception) -> None:
    """Their leases last two minutes, in which they hold the places of their host."""
    outbox = Outbox("a", "b")
    dispatcher = outbox.dispatcher()
    outbox.refusal = refusal
    dispatcher.tick()
    dispatcher.tick()
    assert outbox.queue == [] and outbox.due == []
    outbox.refusal = None
    dispatcher.tick()
    assert outbox.queue == ["a", "b"]


def test_no_more_are_leased_than_the_threads_can_deliver() -> None:
    outbox = Outbox(*"abcdef")
    dispatcher = outbox.dispatcher(threads=4)
    outbox.refusal = FULL
    for _ in range(3):
        dispatcher.tick()
    assert outbox.due == ["e", "f"]
    outbox.refusal = None
    for _ in range(3):
        dispatcher.tick()
    assert outbox.queue == list("abcd") and outbox.due == ["e", "f"]

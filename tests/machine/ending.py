"""The end of an example: all failures stop, all work must get done, and nothing may be left."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from shared import keys
from shared.jobs import Lane
from shared.records.accounts.account import DAY
from tests.machine import world
from tests.machine.checks.snapshot import Snapshot
from workers.webhooks.post import Answer

if TYPE_CHECKING:
    from tests.machine.machine import Records

#: Rounds of one deadline each in which a healthy service must be done with all its work.
_ROUNDS = 12


def all_work_is_done(machine: Records) -> None:
    """Healthy workers commit all images, and healthy receivers get all webhooks."""
    service = machine.service
    for _ in range(_ROUNDS):
        for lane in Lane:
            service.work(lane)
            machine.jobs.recovery.recover(lane)
        if not any(machine.redis.exists(keys.outstanding(lane)) for lane in Lane):
            break
        machine.time.advance(1)
    machine.all_promises_are_kept()
    snapshot = Snapshot(machine.redis)
    for lane in Lane:
        assert not snapshot.outstanding(lane), f"stuck: {snapshot.outstanding(lane)}"
        assert not snapshot.waiting(lane)
        assert snapshot.number(keys.outstanding_images(lane)) == 0
    assert set(snapshot.held().values()) <= {0}, f"bytes are held: {snapshot.held()}"
    for job in machine.promised:
        if job.is_here and job.state != "cancelled":
            unfinished = {n: part.unfinished() for n, part in job.parts.items()}
            assert not any(unfinished.values()), f"{job.id} has no result for {unfinished}"
    _all_webhooks_are_delivered(machine)


def _all_webhooks_are_delivered(machine: Records) -> None:
    delivery = machine.service.delivery
    delivery.answer = Answer(HTTPStatus.OK, 0)
    while machine.redis.exists(keys.WEBHOOKS_DUE):
        leases = delivery.lease(100)
        for lease in leases:
            delivery.deliver(lease)
        machine.all_promises_are_kept()
        if not leases:
            machine.time.advance(1)


def nothing_is_left(machine: Records) -> None:
    """When all results have expired, Redis holds only totals, and they are zero."""
    machine.time.advance(2 * DAY // world.STEP)  # accounts live longest
    machine.jobs.dead_letters.all()
    for lane in Lane:
        machine.service.work(lane)
    left = Snapshot(machine.redis).contents
    left.pop(keys.OWNERS, None)
    for lane in Lane:
        left.pop(keys.current_round(lane), None)
        assert int(left.pop(keys.outstanding_images(lane), 0)) == 0
    assert left.pop(keys.HELD, {}) in ({}, {"total": b"0"})
    assert not left, f"Redis still holds {left}"

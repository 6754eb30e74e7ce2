"""What must be true of the totals, of the queue and of every key, after each step."""

from __future__ import annotations

import json

from shared import keys
from shared.jobs import Lane, PartRef
from tests.machine import world
from tests.machine.checks import accounts
from tests.machine.choices import CLIENTS
from tests.machine.checks.looks import left_of
from tests.machine.promised import Promised
from tests.machine.checks.snapshot import Snapshot

#: The clients that share a lane. Those of slow parts have names of their own.
_SHARING = (*CLIENTS, *(keys.slow(client) for client in CLIENTS))

#: Keys that never expire. Each entry of them must have an owner, which the functions below check.
_LASTING = {
    keys.OWNERS,  # the next job removes the owners whose lists have expired
    *(keys.HELD, keys.CHARGES, keys.DEAD_LETTERS, keys.WEBHOOKS_DUE),
    *(name for lane in Lane for name in (keys.queue(lane), keys.waiting(lane))),
    *(name for lane in Lane for name in (keys.outstanding(lane), keys.outstanding_images(lane))),
    *(keys.current_round(lane) for lane in Lane),
    *(name for lane in Lane for name in (keys.clients(lane), keys.ready(lane))),
    *(keys.waiting_of(lane, client) for lane in Lane for client in _SHARING),
}


def check(promised: Promised, snapshot: Snapshot, now: float) -> None:
    for key in snapshot.contents:
        lasting = key in _LASTING or key.startswith(keys.account(""))  # accounts.py checks these
        assert snapshot.ttl[key] >= 0 or lasting, f"{key} never expires"
    for lane in Lane:
        _outstanding_images(promised, snapshot, lane)
        _reach_a_worker(snapshot, lane, now)
    _bytes_held(promised, snapshot)
    accounts.check(promised, snapshot, now)
    _dead_letters(snapshot, now)
    for job_id in snapshot.webhooks_due():
        assert job_id in promised.jobs, f"a webhook of an unknown job {job_id}"


def _outstanding_images(promised: Promised, snapshot: Snapshot, lane: Lane) -> None:
    """The number of images is what was accepted, less what was committed."""
    expected = 0
    for refs in snapshot.refs[lane].values():
        part = promised.jobs[refs[0].job_id].parts[refs[0].number]
        assert part.stored, f"{refs[0]} is outstanding and was not accepted"
        expected += left_of(part, refs)
    counted = snapshot.number(keys.outstanding_images(lane))
    assert counted == expected, f"{counted} images are outstanding, and should be {expected}"


def _reach_a_worker(snapshot: Snapshot, lane: Lane, now: float) -> None:
    """Each outstanding part is queued, waits for its round, or is overdue soon."""
    outstanding, waiting = snapshot.outstanding(lane), snapshot.waiting(lane)
    assert waiting.keys() <= outstanding.keys(), "a part waits for its round for ever"
    for client in _SHARING:
        own = [place for place in snapshot.waiting(lane, client).values() if place]
        shares = client in snapshot.sharing(lane)
        assert shares or not own, f"no round comes for the parts of {client}"
    of_clients = set().union(*(snapshot.waiting(lane, client) for client in _SHARING if client))
    lost = {member for member, place in waiting.items() if not place} - of_clients
    assert not lost, f"no client has {lost}"
    queued = snapshot.queued(lane)
    for member, deadline in outstanding.items():
        if member not in queued and member not in waiting:
            assert deadline <= now + world.STEP, f"nobody will work on {member}"


def _bytes_held(promised: Promised, snapshot: Snapshot) -> None:
    held = snapshot.held()
    total = held.pop("total", 0)
    parts = {name: size for name, size in held.items() if not name.endswith(":left")}
    assert total == sum(parts.values()), f"{total} bytes are held, and should be {parts}"
    assert {name.removesuffix(":left") for name in held} == parts.keys(), "a number without a part"
    owned = snapshot.refs[Lane.BULK].keys() | snapshot.refs[Lane.INTERACTIVE].keys()
    assert parts.keys() <= owned, f"{parts.keys() - owned} hold bytes, and nobody works on them"
    for job in promised:
        for number in job.parts:
            images = snapshot.images(job.id, number)
            name = keys.part(job.id, number)
            if images:
                size = sum(map(len, images.values()))
                counted = parts.get(name, 0)
                assert size == counted, f"{name} holds {size} bytes, and {counted} are counted"


def _dead_letters(snapshot: Snapshot, now: float) -> None:
    for member, text in snapshot.contents.get(keys.DEAD_LETTERS, {}).items():
        old = json.loads(text)["at"] < now - world.TTL + world.STEP
        assert old or keys.dead_image(member) in snapshot, f"{member} has no image to retry"
        assert PartRef.from_member(member).only is not None

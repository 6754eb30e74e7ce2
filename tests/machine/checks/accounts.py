"""What must be true of the accounts of clients, after each step."""

from __future__ import annotations

from collections import Counter

from shared import keys
from shared.jobs import Lane, PartRef
from shared.records.accounts import account
from tests.machine.checks.looks import left_of
from tests.machine.promised import Promised
from tests.machine.checks.snapshot import Snapshot


def check(promised: Promised, snapshot: Snapshot, now: float) -> None:
    expected: Counter[tuple[str, str]] = Counter()
    charged = {}
    for part, (images, size, lane, client) in snapshot.charges().items():
        charged[part] = images
        expected += Counter({(client, lane): images, (client, "bytes"): size})
    _each_part_is_charged(promised, snapshot, charged)
    for client in {"somebody", "a second", "another", ""}:
        fields = snapshot.account(client)
        assert client or not fields, "an older release has an account"
        for what in (*Lane, "bytes"):
            counted = fields.get(what, 0)
            assert (
                counted == expected[client, what]
            ), f"{client} has {counted} {what}, and should have {expected[client, what]}"
        if fields:
            lasting = snapshot.ttl[keys.account(client)] < 0
            assert lasting == any(fields.get(lane) for lane in Lane), f"{client} expires wrongly"
        _kept(promised, snapshot, client, now)
        if now // account.DAY == promised.began // account.DAY:
            sent = _sent(promised, client)
            today = fields.get("today", 0)
            assert today == sent, f"{client} sent {sent} images today, and {today} are counted"


def _each_part_is_charged(promised: Promised, snapshot: Snapshot, charged: dict[str, int]) -> None:
    """A part that holds bytes is charged to the client that has sent it, or whose job it is."""
    held = snapshot.held()
    for refs in (*snapshot.refs[Lane.BULK].values(), *snapshot.refs[Lane.INTERACTIVE].values()):
        job, name = promised.jobs[refs[0].job_id], _name(refs[0])
        left = left_of(job.parts[refs[0].number], refs)
        # A retried image is charged to the client of its job. An earlier release named none.
        retried = any(number == refs[0].number for number, _ in job.retried)
        if name in held and (job.client or job.sender(refs[0].number) and not retried):
            counted = charged.get(name)
            assert counted == left, f"{counted} images of {name} are charged, and {left} are left"
    for name, (_, size, _, client) in snapshot.charges().items():
        assert held.get(name) == size, f"{size} bytes of {name} are charged"
        _, job_id, number = name.split(":")
        job = promised.jobs[job_id]
        assert client and client in (job.client, job.sender(int(number))), f"{client} pays {name}"


def _name(ref: PartRef) -> str:
    return keys.part(ref.job_id, ref.number)


def _kept(promised: Promised, snapshot: Snapshot, client: str, now: float) -> None:
    """At least the records that are there are counted."""
    fields = snapshot.account(client)
    hours = {name: size for name, size in fields.items() if name.startswith("kept:")}
    assert all(size > 0 for size in hours.values()), f"{client} keeps {hours}"
    counted = sum(size for name, size in hours.items() if int(name[5:]) >= now // account.HOUR)
    there = sum(_kept_by(snapshot.job(job.id), now) for job in promised if job.client == client)
    assert not client or counted >= there, f"{client} keeps {there}, and {counted} are counted"
    assert client or not there


def _kept_by(record: dict[str, str], now: float) -> int:
    """Bytes that are counted. Those of a job that takes too long stop counting early."""
    late = now > float(record.get("expires_at", 0))
    return 0 if late else int(record.get("kept", 0))


def _sent(promised: Promised, client: str) -> int:
    """Images of this client that were accepted."""
    return sum(
        len(part.stored or ())
        for job in promised
        for number, part in job.parts.items()
        if client and job.sender(number) == client
    )

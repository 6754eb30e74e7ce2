"""Compares what Redis holds with what was promised, after each step of the state machine.

The promises are those of docs/reliability.md. A look also notes what the service has done, so that
the next look can tell whether something was changed.
"""

from __future__ import annotations

import json

from shared.jobs import PartRef
from tests.machine import world
from tests.machine.promised import Promised, PromisedJob, PromisedPart
from tests.machine.checks.snapshot import Snapshot

_ENDED = ("completed", "cancelled")


def look(promised: Promised, snapshot: Snapshot, now: float) -> None:
    for job in promised:
        _job(job, snapshot, now)
    _each_claim_has_one_job(snapshot)


def _job(job: PromisedJob, snapshot: Snapshot, now: float) -> None:
    record = snapshot.job(job.id)
    if not record:
        if job.is_here:
            assert now >= job.lives_until, f"{job.id} expired before its time"
        assert job.is_here or not job.acknowledged or job.state, f"{job.id} was accepted and lost"
        job.is_here = False
        return
    assert "expires_at" in record, f"half a record of {job.id}: {record}"
    job.disowned = job.abandoned and job.claim is not None and "claim" not in record
    job.is_here, job.lives_until = True, float(record["expires_at"])
    was_cancelled = job.state == "cancelled"
    for number in _arrived(job, snapshot):
        _part(job, number, snapshot, was_cancelled, now)
    _counts(job, record)
    _state(job, record, snapshot)


def _arrived(job: PromisedJob, snapshot: Snapshot) -> list[int]:
    """Numbers of the parts that the service has accepted, in a job whose record is there."""
    arrived = []
    for number, part in job.parts.items():
        here = bool(snapshot.part(job.id, number))
        assert here or not part.stored, f"part {number} of {job.id} expired before its job"
        assert here or not part.acknowledged, f"part {number} of {job.id} was accepted and lost"
        if here:
            arrived.append(number)
    assert job.opened or len(arrived) == len(job.parts), f"a piece of {job.id} is missing"
    return arrived


def _part(
    job: PromisedJob, number: int, snapshot: Snapshot, was_cancelled: bool, now: float
) -> None:
    part, record = job.parts[number], snapshot.part(job.id, number)
    digests = [digest for *_, digest in json.loads(record["spec"])["items"]]
    if not part.stored:
        candidates = [sent for sent in part.sent if [item.digest for item in sent] == digests]
        assert candidates, f"part {number} of {job.id} has pictures that nobody sent"
        part.stored, part.stored_at = candidates[0], now
    assert digests == [item.digest for item in part.stored], "the pictures of a part changed"
    _outcomes(job, number, record, was_cancelled)
    if snapshot.job(job.id)["state"] != "cancelled":
        _images(job, part, snapshot.images(job.id, number), now)


def _images(job: PromisedJob, part: PromisedPart, images: dict[str, bytes], now: float) -> None:
    assert part.stored
    if now >= part.stored_at + world.TTL - world.STEP:
        return  # They have expired. Their items will fail with `image_expired`.
    for position in part.unfinished():
        data = part.stored[position].data
        assert images.get(str(position)) == data, f"an image of {job.id} is gone: {position}"


def _outcomes(job: PromisedJob, number: int, record: dict[str, str], was_cancelled: bool) -> None:
    """One outcome for each item for ever, unless it is a dead letter that was retried."""
    part = job.parts[number]
    for position in range(len(part.stored or ())):
        outcome = record.get(f"r{position}")
        before = part.outcomes.get(position)
        if before and not outcome:
            may_retry = (number, position) in job.retried and "worker_lost" in before
            assert may_retry, f"item {position} of {job.id} has lost its outcome"
            del part.outcomes[position]
        elif before and before != outcome:
            may_retry = (number, position) in job.retried and "worker_lost" in before
            assert may_retry, f"the outcome of item {position} of {job.id} has changed"
        if outcome and outcome != before:
            assert not was_cancelled, f"item {position} got an outcome after {job.id} was cancelled"
            possible = part.possible(position) | job.given.get((number, position), set())
            assert outcome in possible or "worker_lost" in outcome, "an outcome of another picture"
            part.outcomes[position] = outcome


def _counts(job: PromisedJob, record: dict[str, str]) -> None:
    outcomes = [json.loads(text) for part in job.parts.values() for text in part.outcomes.values()]
    succeeded = sum(outcome["state"] == "succeeded" for outcome in outcomes)
    failed = len(outcomes) - succeeded
    assert int(record["succeeded"]) == succeeded, f"{job.id} counts {record['succeeded']} succeeded"
    assert int(record["failed"]) == failed, f"{job.id} counts {record['failed']} failed"
    if job.opened:
        received = sum(len(part.stored or ()) for part in job.parts.values())
        assert int(record["received"]) == received, f"{job.id} counts {record['received']} received"
    cancelled = job.total - succeeded - failed if record["state"] == "cancelled" else 0
    assert int(record.get("cancelled", 0)) == cancelled, f"{job.id} counts wrong cancelled items"


def _state(job: PromisedJob, record: dict[str, str], snapshot: Snapshot) -> None:
    state = record["state"]
    done = int(record["succeeded"]) + int(record["failed"]) == job.total
    if state != "cancelled":
        assert (state == "completed") == done, f"{job.id} is {state}, done: {done}"
    if job.state == "cancelled":
        assert state == "cancelled", f"{job.id} was cancelled and goes on"
    if job.state == "completed" and state != "completed":
        assert job.retried, f"{job.id} was completed and is {state}"
    if state in _ENDED and job.state not in _ENDED:
        job.ends += 1
    job.state = state
    if job.webhook and state in _ENDED and not (job.abandoned and "webhook" not in record):
        due = job.id in snapshot.webhooks_due() or job.notified == job.ends
        assert due, f"nobody will be notified of the end of {job.id}"


def _each_claim_has_one_job(snapshot: Snapshot) -> None:
    jobs = [key for key in snapshot.contents if key.startswith("job:")]
    claims = [claim for key in jobs if (claim := snapshot.job(key[4:]).get("claim"))]
    assert len(claims) == len(set(claims)), "two jobs with one idempotency key"


def left_of(part: PromisedPart, refs: list[PartRef]) -> int:
    """Images of a part that are outstanding, if these are its members in `outstanding:<lane>`."""
    covered: set[int] = set()
    for ref in refs:
        covered |= {ref.only} if ref.only is not None else set(range(world.PART_SIZE))
    return len(part.unfinished() & covered)

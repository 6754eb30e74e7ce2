"""The outbox holds the webhooks that are due until they are delivered or given up.

The script that ends a job adds its webhook, so every end is notified. A worker takes a lease on a
webhook before it delivers. If that worker dies, the webhook is due again when the lease ends. Each
later step compares the lease's time, so two workers never settle the same try. Times are Unix
seconds.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import NamedTuple

from redis import Redis

from shared import clock, keys
from shared.jobs import Job
from shared.records.scripts import Script

_LEASE = Script("webhooks/lease")
_BEGIN = Script("webhooks/begin")
_SETTLE = Script("webhooks/settle")

#: Deliveries to one host at a time. A host that never answers leaves threads for the others.
MOST_OF_HOST = 4

#: Deliveries of one client at a time, half of what a worker has threads. A client may name any
#: number of hosts, and all of them may belong to one machine that never answers. A second client
#: gets half of the rest, and so on: two of them would otherwise have all threads.
MOST_OF_CLIENT = 8

#: Due webhooks that one call examines.
_EXAMINED = 1000

#: Seconds until they are examined again, if so many wait for their host or client.
_LATER_SECONDS = 5.0

#: Seconds between those of one client that are examined again. It is more than can be delivered,
#: and a small part of what the calls can examine.
_APART_SECONDS = 0.02


class Lease(NamedTuple):
    """A webhook that only this worker may deliver, until `until`."""

    job_id: str
    until: float


class Try(NamedTuple):
    lease: Lease
    number: int  #: 1 at the first try.


class DeliveryState(StrEnum):
    WAITING = "waiting"  #: The job has not ended.
    PENDING = "pending"  #: It is due, is being delivered, or will be tried again.
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"
    UNKNOWN = "unknown"  #: It was settled by an earlier release, which did not note how.


class EndedTry(NamedTuple):
    """How a try ended."""

    at: float  #: Unix seconds.
    status: int | None  #: Of the receiver's answer; None if there was none.
    error: str | None  #: Why there was no answer.
    #: `pending` if another try follows.
    state: DeliveryState
    next_try_at: float | None


class Delivery(NamedTuple):
    """The delivery of one job's webhook."""

    state: DeliveryState
    tries: int
    last: EndedTry | None
    next_try_at: float | None  #: None during a try, and if no try follows.


def delivery(redis: Redis, job: Job) -> Delivery:
    """The present delivery of the webhook of a job that has one."""
    pipe = redis.pipeline(transaction=True)
    pipe.hmget(keys.job(job.id), "webhook_tries", "webhook_last")
    pipe.zscore(keys.WEBHOOKS_DUE, job.id)
    (tries, noted), due_at = pipe.execute()
    last = _ended_try(noted) if noted else None
    if due_at is not None:
        # During a lease the webhook is due at the end of the lease.
        is_leased = bool(tries) and not (last and last.next_try_at == due_at)
        next_try_at = None if is_leased else due_at
        return Delivery(DeliveryState.PENDING, int(tries or 0), last, next_try_at)
    state = DeliveryState.WAITING
    if job.state.ended:
        state = last.state if last else DeliveryState.UNKNOWN
    return Delivery(state, int(tries or 0), last, None)


def _ended_try(noted: bytes) -> EndedTry:
    at, status, error, state, next_try_at = json.loads(noted)[:5]
    return EndedTry(at, status, error, DeliveryState(state), next_try_at)


class WebhookOutbox:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def now(self) -> float:
        """The time of day that all workers of webhooks share, in Unix seconds."""
        return clock.now(self._redis)

    def lease(self, *, now: float, until: float, most: int) -> list[Lease]:
        """Lease at most `most` webhooks that are due, the longest due first.

        Those of a host or a client that has as many deliveries under way as it may have stay due.
        """
        job_ids = _LEASE(
            self._redis,
            webhooks_due=keys.WEBHOOKS_DUE,
            webhooks_under_way=keys.WEBHOOKS_UNDER_WAY,
            now=now,
            lease_until=until,
            most=most,
            most_of_host=MOST_OF_HOST,
            most_of_client=MOST_OF_CLIENT,
            examined=_EXAMINED,
            later=now + _LATER_SECONDS,
            apart=_APART_SECONDS,
        )
        return [Lease(job_id.decode(), until) for job_id in job_ids]

    def begin(self, lease: Lease, *, until: float) -> Try | None:
        """Start a try and extend the lease; None if the lease is over or the job has expired."""
        number = _BEGIN(
            self._redis,
            webhooks_due=keys.WEBHOOKS_DUE,
            webhooks_under_way=keys.WEBHOOKS_UNDER_WAY,
            job=keys.job(lease.job_id),
            job_id=lease.job_id,
            lease_until=lease.until,
            new_lease_until=until,
        )
        return Try(Lease(lease.job_id, until), number) if number else None

    def settle(self, lease: Lease, ended: EndedTry | None = None) -> None:
        """End the lease. The webhook is due again if `ended` says so, and is removed otherwise.

        Without `ended` there is nothing to deliver, and no try was made.
        """
        again = ended.next_try_at if ended else None
        _SETTLE(
            self._redis,
            webhooks_due=keys.WEBHOOKS_DUE,
            webhooks_under_way=keys.WEBHOOKS_UNDER_WAY,
            job=keys.job(lease.job_id),
            job_id=lease.job_id,
            lease_until=lease.until,
            retry_at="" if again is None else again,
            last=json.dumps(ended) if ended else "",
        )

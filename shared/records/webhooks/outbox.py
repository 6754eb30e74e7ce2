"""The outbox holds the webhooks that are due until they are delivered or given up.

The script that ends a job adds its webhook, so every end is notified. A worker takes a lease on a
webhook before it delivers. If that worker dies, the webhook is due again when the lease ends. Each
later step compares the lease's time, so two workers never settle the same try. Times are Unix
seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from redis import Redis

from shared import clock, keys
from shared.records.scripts import Script

_LEASE = Script("webhooks/lease")
_BEGIN = Script("webhooks/begin")
_SETTLE = Script("webhooks/settle")

#: Deliveries to one host at a time. A host that never answers leaves threads for the others.
MOST_OF_HOST = 4

#: Due webhooks that one call examines.
_EXAMINED = 1000

#: Seconds until they are examined again, if so many wait for their host.
_LATER_SECONDS = 5.0


class Lease(NamedTuple):
    """A webhook that only this worker may deliver, until `until`."""

    job_id: str
    until: float


class Try(NamedTuple):
    lease: Lease
    number: int  #: 1 at the first try.


class WebhookOutbox:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def now(self) -> float:
        """The time of day that all workers of webhooks share, in Unix seconds."""
        return clock.now(self._redis)

    def lease(self, *, now: float, until: float, most: int) -> list[Lease]:
        """Lease at most `most` webhooks that are due, the longest due first.

        Those of a host to which MOST_OF_HOST deliveries are under way stay due.
        """
        job_ids = _LEASE(
            self._redis,
            webhooks_due=keys.WEBHOOKS_DUE,
            now=now,
            lease_until=until,
            most=most,
            most_of_host=MOST_OF_HOST,
            examined=_EXAMINED,
            later=now + _LATER_SECONDS,
        )
        return [Lease(job_id.decode(), until) for job_id in job_ids]

    def begin(self, lease: Lease, *, until: float) -> Try | None:
        """Start a try and extend the lease; None if the lease is over or the job has expired."""
        number = _BEGIN(
            self._redis,
            webhooks_due=keys.WEBHOOKS_DUE,
            job=keys.job(lease.job_id),
            job_id=lease.job_id,
            lease_until=lease.until,
            new_lease_until=until,
        )
        return Try(Lease(lease.job_id, until), number) if number else None

    def settle(self, lease: Lease) -> None:
        """Remove a webhook that is delivered or given up."""
        self._settle(lease, retry_at="")

    def try_again(self, lease: Lease, *, at: float) -> None:
        """End the lease and make the webhook due at `at`."""
        self._settle(lease, retry_at=at)

    def _settle(self, lease: Lease, *, retry_at: float | str) -> None:
        _SETTLE(
            self._redis,
            webhooks_due=keys.WEBHOOKS_DUE,
            job=keys.job(lease.job_id),
            job_id=lease.job_id,
            lease_until=lease.until,
            retry_at=retry_at,
        )

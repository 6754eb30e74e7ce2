"""Webhooks that are due, kept in Redis until they are delivered or given up on.

The script that ends a job adds it, so no end goes untold. Whoever delivers first takes a webhook
for some time: should that process die, at any line, it is due again when the time is over. Each
later step compares the time that was seen, so two never settle the same try. Times are Unix
seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from redis import Redis

from shared import keys
from shared.records.scripts import script


class Claim(NamedTuple):
    """A webhook that is this process's to deliver, until `until`."""

    job_id: str
    until: float


class Try(NamedTuple):
    claim: Claim
    number: int  #: 1 at the first.


class WebhookOutbox:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._claim_script = script("webhooks_claim")
        self._begin_script = script("webhooks_begin")
        self._settle_script = script("webhooks_settle")

    def claim(self, *, now: float, until: float, most: int) -> list[Claim]:
        """Take webhooks that are due, the longest due first."""
        found = self._redis.eval(self._claim_script, 1, keys.WEBHOOKS_DUE, now, until, most)
        return [Claim(job_id.decode(), until) for job_id in found]

    def begin(self, claim: Claim, *, until: float) -> Try | None:
        """Start on a try; None where the claim has passed or the job has expired."""
        number = self._redis.eval(
            self._begin_script,
            2,
            keys.WEBHOOKS_DUE,
            keys.job(claim.job_id),
            *claim,
            until,
        )
        return Try(Claim(claim.job_id, until), number) if number else None

    def settle(self, claim: Claim) -> None:
        """It is delivered, or given up on."""
        self._redis.eval(self._settle_script, 1, keys.WEBHOOKS_DUE, *claim, "")

    def try_again(self, claim: Claim, *, at: float) -> None:
        self._redis.eval(self._settle_script, 1, keys.WEBHOOKS_DUE, *claim, at)

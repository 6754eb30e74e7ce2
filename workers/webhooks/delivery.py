"""One try to deliver a webhook, and what follows from the answer."""

from __future__ import annotations

import logging
import random
from http import HTTPStatus

from shared.addresses import webhook_address
from shared.errors import JobNotFound
from shared.records.read import JobReader
from shared.jobs import Job
from shared.records.webhooks.outbox import DeliveryState, EndedTry, Lease, Try, WebhookOutbox
from shared.addresses.webhook_address import Target
from workers.webhooks.event import event
from workers.webhooks.post import Answer, NotDelivered, post
from workers.webhooks.signature import Signer

logger = logging.getLogger(__name__)

_MINUTE, _HOUR = 60, 3600
#: Seconds from a failed try to the next one, as Standard Webhooks proposes. Together they last
#: about as long as a job's results can be read.
BACKOFF_SECONDS = (
    *(5, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR),
)
_JITTER = 0.2

#: A lease lasts this many times the longest delivery. In that time the webhook waits for a thread,
#: its host is resolved, it is delivered, and the outcome is stored.
_LEASE_FACTOR = 8


class WebhookDelivery:
    def __init__(
        self,
        outbox: WebhookOutbox,
        jobs: JobReader,
        signer: Signer,
        *,
        allow_private: bool,
        seconds: float,
    ) -> None:
        """`seconds` limits one POST."""
        self._outbox = outbox
        self._jobs = jobs
        self._signer = signer
        self._allow_private = allow_private
        self._seconds = seconds

    def lease(self, most: int) -> list[Lease]:
        """Lease at most `most` webhooks that are due."""
        now = self._outbox.now()
        return self._outbox.lease(now=now, until=now + self._lease_seconds, most=most)

    def deliver(self, lease: Lease) -> None:
        """Try once. Does nothing if another process holds the lease, or the webhook is settled.

        If the process dies in here, the webhook is due again when the lease ends. Its receiver may
        then get the event twice.
        """
        attempt = self._outbox.begin(lease, until=self._outbox.now() + self._lease_seconds)
        if attempt is None:
            return
        try:
            job = self._jobs.get(lease.job_id)
        except JobNotFound:
            return self._outbox.settle(attempt.lease)
        if not job.state.ended or not job.webhook:
            # A dead letter of the job is being retried. The job's next end adds the webhook again.
            return self._outbox.settle(attempt.lease)
        target = webhook_address.target(job.webhook)
        answer = self._post(job, target)
        self._follow_up(attempt, job, target, answer)

    @property
    def _lease_seconds(self) -> float:
        return _LEASE_FACTOR * self._seconds

    def _post(self, job: Job, target: Target) -> Answer | str:
        """The answer, or the reason why there is none."""
        ended = event(job)
        try:
            return post(
                target,
                ended.body,
                self._signer.headers(ended, timestamp=int(self._outbox.now())),
                allow_private=self._allow_private,
                seconds=self._seconds,
            )
        except NotDelivered as reason:
            return str(reason)

    def _follow_up(self, attempt: Try, job: Job, target: Target, answer: Answer | str) -> None:
        status, retry_after = (answer, 0.0) if isinstance(answer, str) else answer
        delivered = isinstance(status, int) and 200 <= status < 300
        retry_at = self._outbox.now() + max(retry_after, pause(attempt.number))
        over = status == HTTPStatus.GONE or retry_at > job.expires_at
        state = DeliveryState.DELIVERED if delivered else DeliveryState.GIVEN_UP
        pending = not (delivered or over)
        ended = EndedTry(
            at=self._outbox.now(),
            status=status if isinstance(status, int) else None,
            error=None if isinstance(status, int) else status,
            state=DeliveryState.PENDING if pending else state,
            next_try_at=retry_at if pending else None,
        )
        self._outbox.settle(attempt.lease, ended)
        outcome = "delivered" if delivered else "given up" if over else "failed"
        logger.log(
            logging.INFO if delivered else logging.WARNING,
            f"webhook {outcome}",
            # Only the host is logged: the path may contain a secret of the receiver.
            extra={
                "job.id": job.id,
                "url.domain": target.host,
                "webhook.try": attempt.number,
                "webhook.answer": str(status),
            },
        )


def pause(tries: int) -> float:
    """Seconds from try number `tries` to the next one, with random jitter."""
    seconds = BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS)) - 1]
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)

"""A try to deliver a webhook: what is sent, and what follows from the answer."""

from __future__ import annotations

import logging
import random
import time
from http import HTTPStatus

from shared import webhooks
from shared.errors import JobNotFound
from shared.records.job_store import JobStore
from shared.jobs import Job
from shared.records.webhook_outbox import Lease, Try, WebhookOutbox
from shared.webhooks import Target
from workers.webhooks.post import Answer, NotDelivered, post

logger = logging.getLogger(__name__)

_MINUTE, _HOUR = 60, 3600
#: Seconds from a failed try to the next one, as Standard Webhooks proposes; in all about as long
#: as a job's results can be read.
BACKOFF_SECONDS = (
    *(5, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR),
)
_JITTER = 0.2

#: A webhook is taken for so many times the longest delivery: it waits for a thread, its name is
#: looked up, it is delivered, and that is written down.
_TAKEN_FOR = 8


class WebhookDelivery:
    def __init__(
        self,
        outbox: WebhookOutbox,
        jobs: JobStore,
        *,
        secret: str,
        allow_private: bool,
        seconds: float,
    ) -> None:
        self._outbox = outbox
        self._jobs = jobs
        self._secret = secret
        self._allow_private = allow_private
        self._seconds = seconds

    def lease(self, most: int) -> list[Lease]:
        """Take webhooks that are due, as many as can be delivered soon."""
        now = time.time()
        return self._outbox.lease(now=now, until=now + self._taken_for, most=most)

    def deliver(self, lease: Lease) -> None:
        """Try once. A try that another process has taken, or that is over, does nothing.

        Who dies in here leaves the webhook due again; its receiver may hear of it twice.
        """
        attempt = self._outbox.begin(lease, until=time.time() + self._taken_for)
        if attempt is None:
            return
        try:
            job = self._jobs.get(lease.job_id)
        except JobNotFound:
            return self._outbox.settle(attempt.lease)
        if not job.state.ended or not job.webhook:
            # A dead letter is tried again: the job's next end will be told.
            return self._outbox.settle(attempt.lease)
        target = webhooks.target(job.webhook)
        answer = self._post(job, target)
        self._follow_up(attempt, job, target, answer)

    @property
    def _taken_for(self) -> float:
        return _TAKEN_FOR * self._seconds

    def _post(self, job: Job, target: Target) -> Answer | str:
        """The answer, or why there was none."""
        event = webhooks.event(job)
        headers = webhooks.headers(event, secret=self._secret, timestamp=int(time.time()))
        try:
            return post(
                target,
                event.body,
                headers,
                allow_private=self._allow_private,
                seconds=self._seconds,
            )
        except NotDelivered as reason:
            return str(reason)

    def _follow_up(self, attempt: Try, job: Job, target: Target, answer: Answer | str) -> None:
        status, asked = (answer, 0.0) if isinstance(answer, str) else answer
        delivered = isinstance(status, int) and 200 <= status < 300
        retry_at = time.time() + max(asked, pause(attempt.number))
        over = status == HTTPStatus.GONE or retry_at > job.expires_at
        if delivered or over:
            self._outbox.settle(attempt.lease)
        else:
            self._outbox.try_again(attempt.lease, at=retry_at)
        words = "delivered" if delivered else "given up" if over else "failed"
        logger.log(
            logging.INFO if delivered else logging.WARNING,
            f"webhook {words}",
            # Only the host: a path may carry what its owner keeps secret.
            extra={
                "job.id": job.id,
                "url.domain": target.host,
                "webhook.try": attempt.number,
                "webhook.answer": str(status),
            },
        )


def pause(tries: int) -> float:
    """Seconds until the next try after so many: longer each time, and never the same for all."""
    seconds = BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS)) - 1]
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)

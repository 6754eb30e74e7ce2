"""Deliveries of webhooks, as the worker makes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.records.job_records import JobRecords
from shared.records.webhooks.outbox import WebhookOutbox
from workers.webhooks.delivery import WebhookDelivery
from workers.webhooks.signature import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Make = Callable[..., WebhookDelivery]


@pytest.fixture
def make_delivery(redis: Redis, jobs: JobRecords) -> Make:
    def make(*, allow_private: bool = True, seconds: float = 2) -> WebhookDelivery:
        return WebhookDelivery(
            WebhookOutbox(redis),
            jobs.reader,
            Signer(SECRET),
            allow_private=allow_private,
            seconds=seconds,
        )

    return make


@pytest.fixture
def delivery(make_delivery: Make) -> WebhookDelivery:
    return make_delivery()

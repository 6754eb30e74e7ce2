"""Leases of webhooks: none is lost, and no two workers settle the same try."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.records.webhooks.outbox import Lease, WebhookOutbox


@pytest.fixture
def outbox(redis: Redis) -> WebhookOutbox:
    for name in ("one", "two"):
        redis.hset(keys.job(name), "state", "completed")
        redis.zadd(keys.WEBHOOKS_DUE, {name: 100})
    return WebhookOutbox(redis)


def due(redis: Redis) -> dict[bytes, float]:
    return dict(redis.zrange(keys.WEBHOOKS_DUE, 0, -1, withscores=True))


def test_a_webhook_has_one_lease_at_a_time(outbox: WebhookOutbox) -> None:
    assert outbox.lease(now=99, until=150, most=10) == []
    assert outbox.lease(now=100, until=150.5, most=1) == [Lease("one", 150.5)]
    assert outbox.lease(now=101, until=151, most=10) == [Lease("two", 151)]
    assert outbox.lease(now=149, until=200, most=10) == []
    # The workers that had the leases have died.
    assert [each.job_id for each in outbox.lease(now=151, until=200, most=10)] == ["one", "two"]


def test_tries_are_counted_and_an_old_lease_starts_none(
    outbox: WebhookOutbox, redis: Redis
) -> None:
    [lease, _] = outbox.lease(now=100, until=150.25, most=10)
    first = outbox.begin(lease, until=160)
    assert first and first.number == 1
    assert outbox.begin(lease, until=170) is None, "the same message again"
    outbox.try_again(first.lease, at=300)
    assert due(redis)[b"one"] == 300
    [again] = [each for each in outbox.lease(now=300, until=350, most=10) if each.job_id == "one"]
    second = outbox.begin(again, until=360)
    assert second and second.number == 2


def test_a_settled_webhook_is_removed(outbox: WebhookOutbox, redis: Redis) -> None:
    for lease in outbox.lease(now=100, until=150, most=10):
        attempt = outbox.begin(lease, until=160)
        assert attempt
        outbox.settle(attempt.lease)
    assert due(redis) == {}


def test_a_job_that_ends_again_during_a_try_is_notified_again(
    outbox: WebhookOutbox, redis: Redis
) -> None:
    [lease] = outbox.lease(now=100, until=150, most=1)
    attempt = outbox.begin(lease, until=160)
    assert attempt
    redis.zadd(keys.WEBHOOKS_DUE, {"one": 120})
    outbox.settle(attempt.lease)
    outbox.try_again(attempt.lease, at=999)
    assert due(redis)[b"one"] == 120


def test_the_webhook_of_an_expired_job_is_removed(outbox: WebhookOutbox, redis: Redis) -> None:
    [lease] = outbox.lease(now=100, until=150, most=1)
    redis.delete(keys.job("one"))
    assert outbox.begin(lease, until=160) is None
    assert b"one" not in due(redis)
    assert not redis.exists(keys.job("one"))

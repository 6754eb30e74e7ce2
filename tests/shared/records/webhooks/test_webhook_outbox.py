"""Leases of webhooks: none is lost, and no two workers settle the same try."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.records.webhooks.outbox import (
    MOST_OF_CLIENT,
    MOST_OF_HOST,
    DeliveryState,
    EndedTry,
    Lease,
    WebhookOutbox,
)


def failed(*, next_try_at: float) -> EndedTry:
    return EndedTry(1.0, 503, None, DeliveryState.PENDING, next_try_at)


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
    outbox.settle(first.lease, failed(next_try_at=300))
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
    outbox.settle(attempt.lease, failed(next_try_at=999))
    assert due(redis)[b"one"] == 120


def test_the_webhook_of_an_expired_job_is_removed(outbox: WebhookOutbox, redis: Redis) -> None:
    [lease] = outbox.lease(now=100, until=150, most=1)
    redis.delete(keys.job("one"))
    assert outbox.begin(lease, until=160) is None
    assert b"one" not in due(redis)
    assert not redis.exists(keys.job("one"))


def add(redis: Redis, url: str, count: int, client: str = "") -> set[str]:
    """Jobs of `client` that have ended at time 50, whose webhook goes to `url`."""
    names = {f"{url} {number}" for number in range(count)}
    record = {"state": "completed", "webhook": url} | ({"client": client} if client else {})
    for name in names:
        redis.hset(keys.job(name), mapping=record)
        redis.zadd(keys.WEBHOOKS_DUE, {name: 50})
    return names


def leased(outbox: WebhookOutbox, now: float) -> list[Lease]:
    return outbox.lease(now=now, until=now + 80, most=16)


def test_a_host_has_few_deliveries_at_a_time_and_the_others_do_not_wait(
    outbox: WebhookOutbox, redis: Redis
) -> None:
    silent = set()
    for url in (
        "http://silent.example/a",
        "https://SILENT.example:8443/b",
        "http://silent.example",
    ):
        silent |= add(redis, url, 10)
    v6 = add(redis, "http://[2a00::1]:8080/", 10)
    other = add(redis, "http://other.example/silent.example", 1)
    first = {lease.job_id for lease in leased(outbox, 100)}
    assert len(first & silent) == len(first & v6) == MOST_OF_HOST
    assert first - silent - v6 == other | {"one", "two"}
    assert leased(outbox, 101) == []


def test_a_delivery_that_ends_makes_room_for_the_next_to_its_host(
    outbox: WebhookOutbox, redis: Redis
) -> None:
    add(redis, "http://slow.example/", 20)
    first, second, third, _ = [each for each in leased(outbox, 60)]
    for lease, retry_at in ((first, None), (second, 1000.0)):
        attempt = outbox.begin(lease, until=200)
        assert attempt
        if retry_at:
            outbox.settle(attempt.lease, failed(next_try_at=retry_at))
        else:
            outbox.settle(attempt.lease)
    assert len(leased(outbox, 61)) == 2
    assert outbox.begin(third, until=200)
    # The leases of 60 and 61 are over, and the extended one is not.
    assert sum(lease.job_id.startswith("http") for lease in leased(outbox, 142)) == 3
    assert redis.ttl(keys.webhook_host("slow.example")) > 0


def test_a_long_list_for_one_host_does_not_hide_the_others(
    outbox: WebhookOutbox, redis: Redis
) -> None:
    add(redis, "http://silent.example/", 1500)
    assert len(leased(outbox, 60)) == MOST_OF_HOST
    assert leased(outbox, 99) == []
    assert [lease.job_id for lease in leased(outbox, 100)] == ["one", "two"]
    assert len(due(redis)) == 1502, "none is lost"


def test_a_crowd_of_due_webhooks_of_one_client_does_not_delay_others(
    outbox: WebhookOutbox, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.records.webhooks.outbox._EXAMINED", 100)
    crowd = add(redis, "http://silent.example/", 3000, client="crowd")
    for poll in range(120):
        now = 100 + poll / 2
        other = f"other {poll}"
        redis.hset(keys.job(other), mapping={"webhook": "http://other.example/", "client": "other"})
        redis.zadd(keys.WEBHOOKS_DUE, {other: now})
        for lease in leased(outbox, now):
            attempt = outbox.begin(lease, until=lease.until)
            assert attempt
            if lease.job_id not in crowd:
                outbox.settle(attempt.lease)
        if poll >= 60:  # Each of the crowd was examined once.
            assert redis.zscore(keys.WEBHOOKS_DUE, f"other {poll - 1}") is None, poll
    assert crowd <= {name.decode() for name in due(redis)}, "none is lost"
    assert max(due(redis).values()) < 100 + 60 + 3000 * 0.02 + 80
    assert redis.ttl(keys.webhook_later("crowd")) > 0


def test_a_client_that_names_many_hosts_leaves_threads_for_others(
    outbox: WebhookOutbox, redis: Redis
) -> None:
    silent = set()
    for number in range(100):
        silent |= add(redis, f"http://{number}.silent.example/", 3, client="many hosts")
    other = add(redis, "http://other.example/", 1, client="other")
    first = leased(outbox, 100)
    assert {lease.job_id for lease in first} - silent == other | {"one", "two"}
    assert len(first) == MOST_OF_CLIENT + 3
    assert leased(outbox, 101) == []
    for lease in first:
        attempt = outbox.begin(lease, until=200)
        assert attempt
        outbox.settle(attempt.lease)
    assert len(leased(outbox, 102)) == MOST_OF_CLIENT
    assert redis.ttl(keys.webhook_client("many hosts")) > 0


def test_several_clients_with_silent_hosts_leave_threads_for_others(
    outbox: WebhookOutbox, redis: Redis
) -> None:
    for client in ("first", "second", "third"):
        for number in range(20):
            add(redis, f"http://{client}{number}.example/", 1, client=client)
    assert len(leased(outbox, 60)) == 8 + 4 + 2
    other = add(redis, "http://other.example/", 3, client="other")
    assert {lease.job_id for lease in leased(outbox, 61)} < other
    assert redis.ttl(keys.WEBHOOKS_UNDER_WAY) > 0


def test_a_client_always_has_one_delivery(outbox: WebhookOutbox, redis: Redis) -> None:
    for number in range(30):
        add(redis, f"http://{number}.example/", 2, client=f"client {number}")
    first = leased(outbox, 60)
    assert len(first) >= 16
    for lease in first:
        attempt = outbox.begin(lease, until=200)
        assert attempt
        outbox.settle(attempt.lease)
    assert not redis.exists(keys.WEBHOOKS_UNDER_WAY)

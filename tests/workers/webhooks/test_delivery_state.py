"""The state of a delivery, as the owner of the job reads it."""

from __future__ import annotations

import time

from redis import Redis

from shared import keys
from shared.jobs import NewJob
from shared.records.job_records import JobRecords
from shared.records.webhooks import outbox
from shared.records.webhooks.outbox import Delivery, DeliveryState, WebhookOutbox
from tests.conftest import Clock
from tests.support.ports import free_port
from tests.workers.webhooks.ended_jobs import deliver_all, ended_job
from tests.workers.webhooks.receivers import receiver
from workers.webhooks.delivery import WebhookDelivery


def state(redis: Redis, jobs: JobRecords, job: NewJob) -> Delivery:
    return outbox.delivery(redis, jobs.reader.get(job.id))


def test_a_delivered_webhook_says_so(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(204) as server:
        job = ended_job(redis, jobs, server.url)
        deliver_all(delivery)
    now = state(redis, jobs, job)
    assert (now.state, now.tries, now.next_try_at) == (DeliveryState.DELIVERED, 1, None)
    assert now.last and (now.last.status, now.last.error) == (204, None)
    assert time.time() - now.last.at < 60


def test_a_failed_try_has_its_status_and_the_time_of_the_next_one(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery, clock: Clock
) -> None:
    with receiver(503) as server:
        job = ended_job(redis, jobs, server.url)
        deliver_all(delivery)
        now = state(redis, jobs, job)
        assert (now.state, now.tries) == (DeliveryState.PENDING, 1)
        assert now.last and now.last.status == 503
        assert now.next_try_at == redis.zscore(keys.WEBHOOKS_DUE, job.id)
        clock.now += 10
        [lease] = delivery.lease(10)
        assert state(redis, jobs, job).next_try_at is None, "a worker holds it"
        delivery.deliver(lease)
    assert state(redis, jobs, job).tries == 2


def test_a_receiver_that_cannot_be_reached_is_an_error(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    job = ended_job(redis, jobs, f"http://127.0.0.1:{free_port()}/")
    deliver_all(delivery)
    last = state(redis, jobs, job).last
    assert last and (last.status, last.error) == (None, "Connection refused")


def test_a_receiver_that_is_gone_ends_the_delivery(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(410) as server:
        job = ended_job(redis, jobs, server.url)
        deliver_all(delivery)
    assert state(redis, jobs, job).state is DeliveryState.GIVEN_UP


def test_a_webhook_that_an_earlier_release_settled_is_unknown(
    redis: Redis, jobs: JobRecords
) -> None:
    job = ended_job(redis, jobs, "http://127.0.0.1/")
    redis.delete(keys.WEBHOOKS_DUE)
    redis.hset(keys.job(job.id), "webhook_tries", 1)
    assert state(redis, jobs, job) == Delivery(DeliveryState.UNKNOWN, 1, None, None)


def test_a_job_that_expired_during_a_try_is_not_made_anew(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    job = ended_job(redis, jobs, "http://127.0.0.1/")
    own = WebhookOutbox(redis)
    now = time.time()
    [lease] = own.lease(now=now, until=now + 9, most=1)
    attempt = own.begin(lease, until=now + 20)
    assert attempt
    redis.delete(keys.job(job.id))
    own.settle(attempt.lease, outbox.EndedTry(now, 200, None, DeliveryState.DELIVERED, None))
    assert not redis.exists(keys.job(job.id), keys.WEBHOOKS_DUE)

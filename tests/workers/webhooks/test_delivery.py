"""A webhook is tried until it is delivered, while its job exists. Real Redis and receivers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from email.utils import formatdate

import pytest
from redis import Redis
from standardwebhooks import Webhook

from shared import keys
from shared.records.job_records import JobRecords
from shared.jobs import Lane, NewItem, OpenJob, PartRef, new_job_id
from shared.records.webhooks.outbox import Lease, WebhookOutbox
from tests.conftest import Clock
from tests.workers.webhooks.conftest import SECRET, Make
from tests.workers.webhooks.ended_jobs import (
    SUCCESS,
    commit,
    deliver_all,
    due,
    ended_job,
    new_job,
)
from tests.workers.webhooks.receivers import receiver
from workers.webhooks.delivery import BACKOFF_SECONDS, WebhookDelivery, pause
from workers.webhooks.signature import Signer


def test_the_commit_that_ends_a_job_adds_its_webhook(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(200) as server:
        job = new_job(server.url, items=3)
        jobs.submitter.accept([job])
        commit(redis, jobs, job, range(2))
        assert due(redis) == {}, "it has not ended"
        commit(redis, jobs, job, range(3))
        assert list(due(redis)) == [job.id]
        assert deliver_all(delivery) == 1
        [delivered] = server.deliveries
    assert delivered.event["type"] == "job.completed"
    assert delivered.event["data"]["id"] == job.id
    assert delivered.event["data"]["counts"]["succeeded"] == 3
    assert Webhook(SECRET).verify(delivered.body, delivered.headers) == delivered.event
    assert due(redis) == {}


def test_a_job_that_ends_at_once_adds_its_webhook(redis: Redis, jobs: JobRecords) -> None:
    job = new_job("http://127.0.0.1/", outcome=SUCCESS)
    jobs.submitter.accept([job])
    assert list(due(redis)) == [job.id]


def test_the_last_part_and_a_cancellation_add_the_webhook_of_an_open_job(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(200) as server:
        for end in ("completed", "cancelled"):
            job_id = new_job_id()
            jobs.submitter.open(
                OpenJob(id=job_id, lane=Lane.BULK, top_k=1, total=33, webhook=server.url)
            )
            known = NewItem(name="a", digest="0" * 64, data=b"", outcome=SUCCESS)
            jobs.submitter.put_part(jobs.reader.get(job_id), 1, [known])
            assert due(redis) == {}
            if end == "completed":
                jobs.submitter.put_part(jobs.reader.get(job_id), 0, [known] * 32)
            else:
                jobs.canceller.cancel(job_id)
                jobs.canceller.cancel(job_id)
            assert list(due(redis)) == [job_id]
            deliver_all(delivery)
        types = [each.event["type"] for each in server.deliveries]
    assert types == ["job.completed", "job.cancelled"]


def test_a_job_without_a_webhook_adds_none(redis: Redis, jobs: JobRecords) -> None:
    job = new_job("")
    jobs.submitter.accept([job])
    commit(redis, jobs, job, range(1))
    assert jobs.reader.get(job.id).state.ended and due(redis) == {}


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
def test_after_any_other_answer_the_same_event_is_sent_again_later(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery, status: int, clock: Clock
) -> None:
    with receiver(status, status, 200) as server:
        job = ended_job(redis, jobs, server.url)
        for seconds in BACKOFF_SECONDS[:2]:
            deliver_all(delivery)
            assert 0.8 * seconds <= due(redis)[job.id] - clock.now <= 1.2 * seconds
            assert deliver_all(delivery) == 0, "it is not due yet"
            redis.zadd(keys.WEBHOOKS_DUE, {job.id: time.time()})
        deliver_all(delivery)
        assert due(redis) == {}
        sent = server.deliveries
    assert len(sent) == 3
    assert len({each.headers["webhook-id"] for each in sent}) == 1
    assert len({each.body for each in sent}) == 1
    for each in sent:
        Webhook(SECRET).verify(each.body, each.headers)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("3000", 3000),
        (lambda: formatdate(time.time() + 3000, usegmt=True), 3000),
        ("1", BACKOFF_SECONDS[0]),  # Not sooner than without the header.
        ("-7", BACKOFF_SECONDS[0]),
        ("soon", BACKOFF_SECONDS[0]),
        ("Mon, 01 Jan 0001 00:00:00 GMT", BACKOFF_SECONDS[0]),
    ],
)
def test_retry_after_delays_the_next_try(
    redis: Redis,
    jobs: JobRecords,
    delivery: WebhookDelivery,
    asked: str | Callable[[], str],
    seconds: float,
) -> None:
    with receiver(429, Retry_After=asked if isinstance(asked, str) else asked()) as server:
        job = ended_job(redis, jobs, server.url)
        deliver_all(delivery)
    assert 0.8 * seconds - 2 < due(redis)[job.id] - time.time() < 1.2 * seconds


def test_a_retry_after_beyond_the_jobs_expiry_ends_the_tries(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(503, Retry_After="9" * 400) as server:
        ended_job(redis, jobs, server.url)
        deliver_all(delivery)
    assert due(redis) == {}


def test_status_410_ends_the_tries(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(410) as server:
        ended_job(redis, jobs, server.url)
        deliver_all(delivery)
    assert due(redis) == {}


def test_the_tries_end_when_the_job_can_no_longer_be_read(redis: Redis) -> None:
    short = JobRecords(redis, result_ttl_seconds=10, part_deadline_seconds=60)
    delivery = WebhookDelivery(
        WebhookOutbox(redis), short.reader, Signer(SECRET), allow_private=True, seconds=2
    )
    with receiver(500) as server:
        job = ended_job(redis, short, server.url)
        deliver_all(delivery)
        assert list(due(redis)) == [job.id], "the next try is in five seconds"
        redis.zadd(keys.WEBHOOKS_DUE, {job.id: time.time()})
        deliver_all(delivery)
    assert due(redis) == {}


def test_after_a_crash_the_webhook_is_due_again_when_the_lease_ends(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery, clock: Clock
) -> None:
    with receiver(200) as server:
        job = ended_job(redis, jobs, server.url)
        assert [lease.job_id for lease in delivery.lease(10)] == [job.id]  # The worker dies here.
        assert delivery.lease(10) == []
        clock.now += 60
        [lease] = delivery.lease(10)
        outbox = WebhookOutbox(redis)
        assert outbox.begin(lease, until=clock.now + 60)  # It sends and dies.
        assert delivery.lease(10) == []
        clock.now += 61
        assert deliver_all(delivery) == 1
        assert len(server.deliveries) == 1
    assert due(redis) == {}


def test_a_message_that_comes_twice_delivers_once(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(200) as server:
        ended_job(redis, jobs, server.url)
        [lease] = delivery.lease(10)
        for _ in range(2):
            delivery.deliver(Lease(*lease))
        assert len(server.deliveries) == 1


def test_a_job_that_runs_again_is_notified_at_its_next_end(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(200) as server:
        job = ended_job(redis, jobs, server.url)
        deliver_all(delivery)
        first = jobs.reader.get(job.id).finished_at
        # A retried dead letter does this. The webhook of the first end is still due.
        redis.hset(keys.job(job.id), mapping={"state": "running", "succeeded": 0})
        redis.hdel(keys.part(job.id, 0), "r0")
        redis.zadd(keys.WEBHOOKS_DUE, {job.id: time.time()})
        deliver_all(delivery)
        assert due(redis) == {} and len(server.deliveries) == 1
        redis.hset(keys.part(job.id, 0), "pending", 1)
        redis.zadd(keys.outstanding(Lane.BULK), {PartRef(job.id, 0, 1).member: time.time()})
        time.sleep(0.01)
        commit(redis, jobs, job, range(1))
        assert jobs.reader.get(job.id).finished_at != first
        deliver_all(delivery)
        ids = [each.headers["webhook-id"] for each in server.deliveries]
    assert len(set(ids)) == 2


def test_no_webhook_goes_to_a_private_address(
    redis: Redis, jobs: JobRecords, make_delivery: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(200) as server:
        url = server.url.replace("127.0.0.1", "localhost") + "?token=secret"
        job = ended_job(redis, jobs, url)
        with caplog.at_level(logging.INFO):
            deliver_all(make_delivery(allow_private=False))
        assert server.deliveries == []
    assert list(due(redis)) == [job.id]
    [record] = caplog.records
    assert "not public" in record.__dict__["webhook.answer"]
    assert "secret" not in str(record.__dict__)


def test_the_pauses_grow_and_have_jitter() -> None:
    assert 4 <= pause(1) <= 6
    assert 0.8 * BACKOFF_SECONDS[-1] <= pause(100) <= 1.2 * BACKOFF_SECONDS[-1]
    assert len({pause(3) for _ in range(10)}) > 1


def test_a_try_ends_before_a_slow_receiver_answers(
    redis: Redis, jobs: JobRecords, make_delivery: Make
) -> None:
    with receiver(200) as server:
        server.gate.clear()
        ended_job(redis, jobs, server.url)
        deliver_all(make_delivery(seconds=0.3))
        # Had the try waited for the answer, the webhook would be delivered and no longer due.
        assert len(server.deliveries) == 1 and due(redis)

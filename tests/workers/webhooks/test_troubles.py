"""Webhooks beside a dead letter, a wrong clock and a full Redis."""

from __future__ import annotations

import time
from dataclasses import replace
from email.utils import formatdate

import pytest
from redis import Redis

from shared import keys
from shared.jobs import PartRef
from shared.records.job_records import JobRecords
from tests.shared.records.parts import LANE, bury, commit, take_message
from tests.support import stored_jobs
from tests.support.servers.memory_limit import memory_limit
from tests.workers.webhooks.ended_jobs import deliver_all, due, ended_job
from tests.workers.webhooks.receivers import receiver
from workers.webhooks.delivery import WebhookDelivery


def test_a_retried_dead_letter_begins_the_tries_anew(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(500) as server:
        job = replace(stored_jobs.new_job(1, LANE), webhook=server.url)
        jobs.submitter.accept([job])
        bury(redis, jobs, PartRef(job.id, 0, 1))
        for _ in range(3):
            redis.zadd(keys.WEBHOOKS_DUE, {job.id: time.time()})
            assert deliver_all(delivery) == 1
        [letter] = jobs.dead_letters.all()
        assert jobs.dead_letters.retry(letter)
        redis.zrem(keys.WEBHOOKS_DUE, job.id)  # of the first end
        [again] = take_message(redis)
        jobs.parts.start([again], LANE)
        commit(redis, jobs, again)
        assert deliver_all(delivery) == 1
        assert due(redis)[job.id] - time.time() < 7, "the first pause is five seconds"


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_a_sender_with_a_wrong_clock_tells_the_time_of_redis(
    redis: Redis,
    jobs: JobRecords,
    delivery: WebhookDelivery,
    monkeypatch: pytest.MonkeyPatch,
    ahead: float,
) -> None:
    """Receivers refuse a webhook whose time is wrong by five minutes."""
    real = time.time
    with receiver(503, Retry_After=formatdate(real() + 3000, usegmt=True)) as server:
        job = ended_job(redis, jobs, server.url)
        monkeypatch.setattr(time, "time", lambda: real() + ahead)
        deliver_all(delivery)
        [sent] = server.deliveries
    assert int(sent.headers["webhook-timestamp"]) == pytest.approx(real(), abs=60)
    assert due(redis)[job.id] == pytest.approx(real() + 3000, abs=60)


def test_a_full_redis_delays_no_try(
    redis: Redis, jobs: JobRecords, delivery: WebhookDelivery
) -> None:
    with receiver(500, 200) as server:
        job = ended_job(redis, jobs, server.url)
        with memory_limit(redis, 1):
            assert deliver_all(delivery) == 1
        redis.zadd(keys.WEBHOOKS_DUE, {job.id: time.time()})
        with memory_limit(redis, 1):
            assert deliver_all(delivery) == 1
        assert len(server.deliveries) == 2
    assert due(redis) == {}

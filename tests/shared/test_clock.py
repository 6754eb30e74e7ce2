"""Machines whose clocks differ: each process writes and compares times by the clock of Redis."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest
from kombu.transport import redis as kombu_redis
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared import clock, keys
from shared.jobs import Lane, PartRef
from shared.records.job_records import JobRecords
from shared.records.load import backlog, estimate
from shared.records.overdue.recovery import Recovered
from shared.records.webhooks.outbox import WebhookOutbox
from shared.serving.presence import Presence
from tests.support.stored_jobs import commit, new_job
from workers.broker import transport

HOUR = 3600.0
LANE = Lane.INTERACTIVE

Switch = Callable[[float], None]


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Switch:
    """Go on as another process, on a machine whose clock is so many seconds ahead."""
    real = time.time

    def to(seconds: float) -> None:
        monkeypatch.setattr(clock, "_clock", clock._Clock())
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return to


def by_redis(redis: Redis) -> float:
    return float(redis.time()[0])


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_process_with_a_wrong_clock_tells_the_time_of_redis(
    redis: Redis, switch: Switch, ahead: float
) -> None:
    switch(ahead)
    assert clock.now(redis) == pytest.approx(by_redis(redis), abs=60)
    assert clock.reading() == pytest.approx(by_redis(redis), abs=60)
    assert clock.difference() == pytest.approx(-ahead, abs=60)


def test_the_clock_of_this_machine_is_used_as_it_is(redis: Redis, switch: Switch) -> None:
    switch(0)
    clock.now(redis)
    assert clock.difference() == 0


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_clock_that_is_set_while_a_process_runs_changes_no_time(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """Deadlines that were written until the next measurement would be an hour wrong."""
    monkeypatch.setattr(clock, "_clock", clock._Clock())
    clock.now(redis)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    assert clock.reading() == pytest.approx(by_redis(redis), abs=60)
    monkeypatch.setattr(clock, "MEASURE_SECONDS", 0)
    monkeypatch.setattr(clock._clock, "_due_at", 0)
    assert clock.now(redis) == pytest.approx(by_redis(redis), abs=60)
    assert clock.difference() == pytest.approx(-ahead, abs=60)


def test_a_process_asks_for_the_time_only_now_and_then(
    redis: Redis, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> int:
        return int(redis.info("commandstats").get("cmdstat_time", {"calls": 0})["calls"])

    switch(0)
    before, now = asked(), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(100):
        clock.now(redis)
    assert asked() == before + 1
    now += clock.MEASURE_SECONDS
    clock.now(redis)
    assert asked() == before + 2


def test_a_process_that_cannot_measure_says_so_and_measures_at_the_next_call(
    redis: Redis, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise RedisConnectionError

    switch(HOUR)
    with monkeypatch.context() as outage:
        outage.setattr(redis, "time", away)
        with pytest.raises(RedisConnectionError):
            clock.now(redis)
    assert clock.now(redis) == pytest.approx(by_redis(redis), abs=60)


def test_a_large_difference_is_logged_once(
    redis: Redis,
    switch: Switch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(clock, "MEASURE_SECONDS", 0)
    switch(0)
    clock.now(redis)
    assert not caplog.records
    switch(HOUR)
    clock.now(redis)
    clock.now(redis)
    assert len(caplog.records) == 1
    assert "-3600.0 s" in caplog.text


def test_a_lost_message_of_a_web_process_with_a_wrong_clock_is_delivered_again(
    redis: Redis, switch: Switch
) -> None:
    jobs = JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=0)
    switch(HOUR)
    jobs.submitter.accept([new_job(1, LANE)])
    redis.delete(keys.queue(LANE))
    switch(0)
    assert jobs.recovery.recover(LANE) == Recovered(requeued=1, split=0, buried=0)


def test_a_part_is_not_overdue_because_a_clock_is_wrong(
    redis: Redis, jobs: JobRecords, switch: Switch
) -> None:
    for web, reconciler in ((-HOUR, 0.0), (0.0, HOUR)):
        switch(web)
        jobs.submitter.accept([new_job(1, LANE)])
        redis.delete(keys.queue(LANE))
        switch(reconciler)
        assert jobs.recovery.recover(LANE) == Recovered(0, 0, 0)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_the_wait_of_a_picture_is_measured_by_one_clock(
    redis: Redis, jobs: JobRecords, switch: Switch, ahead: float
) -> None:
    switch(ahead)
    job = new_job(1, LANE)
    jobs.submitter.accept([job])
    switch(0)
    formed_at = clock.now(redis)
    [work] = jobs.parts.start([PartRef(job.id, 0, 1)], LANE)
    assert -1 < formed_at - work.accepted_at < 60


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_an_estimate_and_the_speed_of_a_lane_do_not_depend_on_the_clock(
    redis: Redis, jobs: JobRecords, switch: Switch, ahead: float
) -> None:
    switch(ahead)
    done, waiting = new_job(32, LANE), new_job(3, LANE)
    jobs.submitter.accept([waiting])
    jobs.submitter.accept([done])
    commit(redis, jobs, done)
    switch(0)
    assert backlog.read(redis).drained[LANE] > 0
    job = jobs.reader.get(waiting.id)
    present = estimate.of_job(redis, job, deadline_seconds=60)
    assert present.position == 0
    assert present.seconds and present.seconds < 60


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_workers_with_different_clocks_are_all_counted(
    redis: Redis, switch: Switch, ahead: float
) -> None:
    for name, seconds in (("right", 0.0), ("wrong", ahead), ("right too", 0.0)):
        switch(seconds)
        Presence(redis, LANE, name).tick()
    assert backlog.read(redis).workers[LANE] == 3


def test_a_webhook_is_leased_once_whatever_the_clock(redis: Redis, switch: Switch) -> None:
    outbox = WebhookOutbox(redis)
    redis.hset(keys.job("one"), "webhook", "http://localhost/")
    redis.zadd(keys.WEBHOOKS_DUE, {"one": by_redis(redis) - 1})
    leases = []
    for seconds in (0.0, HOUR, -HOUR):
        switch(seconds)
        now = outbox.now()
        leases += outbox.lease(now=now, until=now + 80, most=1)
    assert [each.job_id for each in leases] == ["one"]


def test_a_message_that_a_worker_holds_is_not_returned_by_another_clock(
    redis: Redis, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kombu_redis, "time", kombu_redis.time)
    transport.use()
    switch(HOUR)
    clock.now(redis)
    assert kombu_redis.time() == pytest.approx(by_redis(redis), abs=60)

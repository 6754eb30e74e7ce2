"""Admission: which lanes have room, and when a refused client should return."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from quickstart import redis_server
from shared import keys
from shared.errors import Overloaded
from shared.jobs import Lane
from shared.operation import lane_states
from shared.operation.lane_states import LaneState
from shared.records.load import backlog
from shared.records.job_records import JobRecords
from shared.redis_client import connect
from tests.support.ports import free_port
from tests.support.servers.memory_limit import memory_limit
from tests.support.stored_jobs import SIZE, commit, new_job
from tests.web.submit.asking import Clock, ask, fits
from web.submit.admission import Admission


class Reads:
    """Counts how often the present load is read from Redis."""

    def __init__(self) -> None:
        self.count = 0
        self._read = backlog.read

    def __call__(self, redis: Redis) -> backlog.Load:
        self.count += 1
        return self._read(redis)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    counted = Reads()
    monkeypatch.setattr(backlog, "read", counted)
    return counted


@pytest.fixture
def full_redis(redis: Redis) -> Iterator[Redis]:
    """A Redis that stores nothing more."""
    with memory_limit(redis, 1):
        yield redis


def seconds_to_wait(admission: Admission) -> int:
    with pytest.raises(Overloaded) as refused:
        ask(admission)
    return refused.value.retry_after_seconds


# Limits


def test_a_lane_accepts_as_many_images_as_it_may_hold(make: Callable[..., Admission]) -> None:
    admission = make()
    admission.accept([new_job(8)])
    assert fits(admission, 2) and not fits(admission, 3)
    assert fits(admission, 10, lane=Lane.INTERACTIVE)


def test_there_is_room_again_once_work_is_done(
    make: Callable[..., Admission], redis: Redis, jobs: JobRecords, clock: Clock
) -> None:
    admission = make()
    job = new_job(10)
    admission.accept([job])
    assert not fits(admission)
    commit(redis, jobs, job)
    clock.now += 0.11
    assert fits(admission, 10)


def test_images_that_another_process_accepted_count(make: Callable[..., Admission]) -> None:
    admission, other = make(), make()
    assert fits(admission)
    other.accept([new_job(9)])
    admission.accept([new_job(1)])
    assert not fits(admission)


def test_a_job_that_is_larger_than_a_limit_fits_when_nothing_else_is_there(
    make: Callable[..., Admission],
) -> None:
    assert fits(make(size=SIZE), 500, size=500 * SIZE)


def test_several_pictures_leave_a_quarter_of_the_interactive_lane_to_single_ones(
    make: Callable[..., Admission],
) -> None:
    admission = make(images=12)
    admission.accept([new_job(8, Lane.INTERACTIVE)])
    assert not fits(admission, 2, lane=Lane.INTERACTIVE)
    assert fits(admission, 1, lane=Lane.INTERACTIVE)
    admission.accept([new_job(3, Lane.INTERACTIVE)])
    assert fits(admission, 1, lane=Lane.INTERACTIVE)
    assert fits(admission, 6, lane=Lane.BULK)


def test_bytes_are_limited_and_bulk_leaves_room_for_single_pictures(
    make: Callable[..., Admission],
) -> None:
    admission = make(images=1000, size=10 * SIZE)
    admission.accept([new_job(8)])
    assert not fits(admission, size=SIZE)
    assert fits(admission, lane=Lane.INTERACTIVE, size=SIZE)
    assert not fits(admission, lane=Lane.INTERACTIVE, size=3 * SIZE)


def test_a_redis_with_little_memory_left_accepts_results_but_no_pictures(
    make: Callable[..., Admission], redis: Redis, jobs: JobRecords, clock: Clock
) -> None:
    admission = make(images=1000)
    job = new_job(8)
    admission.accept([job])
    with memory_limit(redis, int(redis.info("memory")["used_memory"] * 1.05)):
        clock.now += 1.01
        assert not fits(admission, size=SIZE)
        commit(redis, jobs, job)
        assert jobs.reader.get(job.id).succeeded == 8


def test_a_full_redis_is_an_overload(make: Callable[..., Admission], full_redis: Redis) -> None:
    with pytest.raises(Overloaded):
        make().accept([new_job()])
    assert not full_redis.keys()


# When to return


def test_the_time_to_return_comes_from_the_drain_rate(
    make: Callable[..., Admission], redis: Redis
) -> None:
    admission = make(images=100)
    admission.accept([new_job(100)])
    second = int(time.time())
    for k in range(-1, 11):
        redis.set(keys.drained(Lane.BULK, second - k), 2)
        redis.set(keys.drained(Lane.INTERACTIVE, second - k), 50)
    # It waits for one image and a tenth of the limit, at two images a second and a little more for
    # the second that is not over.
    assert seconds_to_wait(admission) in (5, 6)


def test_where_nobody_works_a_client_returns_in_half_a_minute(
    make: Callable[..., Admission],
) -> None:
    admission = make()
    admission.accept([new_job(10)])
    assert seconds_to_wait(admission) == 30


@pytest.mark.parametrize(("state", "seconds"), [(LaneState.OPEN, 3), (LaneState.PAUSED, 30)])
def test_where_workers_have_just_begun_a_client_returns_soon_unless_the_lane_is_paused(
    make: Callable[..., Admission], redis: Redis, state: LaneState, seconds: int
) -> None:
    redis.zadd(keys.workers(Lane.BULK), {"worker": time.time()})
    lane_states.decide(redis, Lane.BULK, state, by="", reason="")
    admission = make()
    admission.accept([new_job(10)])
    assert seconds_to_wait(admission) == seconds


# Reads


def test_a_lane_with_room_costs_no_round_trip_of_its_own(
    make: Callable[..., Admission], reads: Reads, clock: Clock
) -> None:
    admission = make(images=1000)
    for _ in range(100):
        assert fits(admission)
        clock.now += 0.009
    assert reads.count == 1


def test_before_refusals_the_load_is_read_ten_times_a_second_at_most(
    make: Callable[..., Admission], reads: Reads, clock: Clock
) -> None:
    admission = make()
    admission.accept([new_job(10)])
    for _ in range(500):
        assert not fits(admission)
        clock.now += 0.001
    assert 1 < reads.count <= 6


def test_in_an_outage_one_caller_finds_out_and_all_others_hear_of_it(
    jobs: JobRecords, reads: Reads, clock: Clock
) -> None:
    away = connect("redis://127.0.0.1:1/0", max_connections=2)
    admission = Admission(
        away, jobs.submitter, max_images=dict.fromkeys(Lane, 1), max_bytes=1, clock=clock
    )
    errors: list[RedisError] = []

    def refused() -> None:
        with pytest.raises(RedisError) as error:
            ask(admission)
        errors.append(error.value)

    threads = [threading.Thread(target=refused) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(errors), reads.count) == (50, 1)
    clock.now += 0.26
    refused()
    assert reads.count == 2


#: As in the web process, where one request waits for Redis while others run.
_GREENLETS = """
import gevent.monkey; gevent.monkey.patch_all()
import os, signal, sys, time, gevent
from redis.exceptions import RedisError
from shared.records.job_records import JobRecords
from shared.jobs import Lane
from shared.redis_client import connect
from web.submit.admission import Admission

class Clock:
    now = 0.0
    def __call__(self):
        return self.now

clock = Clock()
redis = connect(sys.argv[1], max_connections=50)
jobs = JobRecords(redis, result_ttl_seconds=60, part_deadline_seconds=60)
admission = Admission(
    redis, jobs.submitter, max_images={lane: 10 for lane in Lane}, max_bytes=10, clock=clock
)
admission.room().reserve([Lane.BULK], size=1)
server = redis.info("server")["process_id"]
clock.now += 1.1  # the load is old now
os.kill(server, signal.SIGSTOP)
heard = []

def ask():
    while len(heard) < 100:
        try:
            with admission.room() as room:
                room.reserve([Lane.BULK], size=1)
        except Exception as error:
            heard.append(isinstance(error, RedisError))
        gevent.sleep(0.001)

gevent.joinall([gevent.spawn(ask) for _ in range(20)])
os.kill(server, signal.SIGCONT)
print(set(heard))
"""


def test_a_request_that_asks_while_another_finds_redis_away_hears_of_an_outage(
    tmp_path: Path,
) -> None:
    with redis_server.running(tmp_path, free_port()) as url:
        ran = subprocess.run(
            [sys.executable, "-c", _GREENLETS, url], capture_output=True, text=True, timeout=60
        )
    assert ran.stdout.splitlines()[-1:] == ["{True}"], ran.stderr

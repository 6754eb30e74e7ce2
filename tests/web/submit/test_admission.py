"""When it is too much: refused with a time to return, and nothing of it is kept."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from redis.exceptions import RedisError
from werkzeug.test import TestResponse

from tests.support.local_service import free_port
from quickstart import redis_server
from shared import keys
from shared.records import backlog
from shared.errors import Overloaded
from shared.records.job_records import JobRecords
from shared.records.work import MAX_ATTEMPTS
from shared.jobs import PART_SIZE, ItemState, Lane, NewItem, NewJob, Outcome, PartRef, new_job_id
from shared.redis_client import connect
from tests.monitoring.scrapes import value
from web.submit import admission as admission_module
from web.submit.admission import Admission

JPEG = b"\xff\xd8\xff\xe0 not a whole picture"
SIZE = 1000


def new_job(images: int = 1, lane: Lane = Lane.BULK, size: int = SIZE) -> NewJob:
    items = [NewItem(name="", digest=f"{k}", data=bytes(size)) for k in range(images)]
    return NewJob(id=new_job_id(), lane=lane, top_k=5, items=items)


def commit(jobs: JobRecords, redis: Redis, job: NewJob) -> None:
    pipe = redis.pipeline(transaction=False)
    done = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")
    for start in range(0, len(job.items), PART_SIZE):
        images = len(job.items[start : start + PART_SIZE])
        ref = PartRef(job.id, start // PART_SIZE, images)
        jobs.parts.commit(pipe, ref, job.lane, {k: done for k in range(images)})
    pipe.execute()


def admission(redis: Redis, jobs: JobRecords, *, images: int = 10, size: int = 2**30) -> Admission:
    return Admission(
        redis, jobs.submitter, max_images={lane: images for lane in Lane}, max_bytes=size
    )


def ask(gate: Admission, images: int = 1, lane: Lane = Lane.BULK, size: int = 0) -> None:
    """Reserve room and give it back. Raises Overloaded."""
    with gate.room() as room:
        room.fill(lane, images=images, size=size)


def fits(gate: Admission, images: int = 1, lane: Lane = Lane.BULK, size: int = 0) -> bool:
    try:
        ask(gate, images, lane, size)
    except Overloaded:
        return False
    return True


@pytest.fixture
def full_redis(redis: Redis) -> Iterator[Redis]:
    """A Redis that takes nothing more."""
    redis.config_set("maxmemory", 1)
    yield redis
    redis.config_set("maxmemory", 0)


def test_a_lane_takes_as_many_images_as_it_may_hold(redis: Redis, jobs: JobRecords) -> None:
    gate = admission(redis, jobs)
    gate.accept([new_job(8)])
    assert fits(gate, 2) and not fits(gate, 3)
    assert fits(gate, 10, lane=Lane.INTERACTIVE)


def test_there_is_room_again_once_work_is_done(redis: Redis, jobs: JobRecords) -> None:
    gate = admission(redis, jobs)
    job = new_job(10)
    gate.accept([job])
    assert not fits(gate)
    commit(jobs, redis, job)
    time.sleep(0.11)  # the age at which a full lane is looked at again
    assert fits(gate, 10)


def test_what_another_process_accepted_counts(redis: Redis, jobs: JobRecords) -> None:
    gate, other = admission(redis, jobs), admission(redis, jobs)
    assert fits(gate)
    other.accept([new_job(9)])
    gate.accept([new_job(1)])
    assert not fits(gate)


def test_a_job_that_is_larger_than_a_limit_fits_when_nothing_else_is_there(
    redis: Redis, jobs: JobRecords
) -> None:
    gate = admission(redis, jobs, size=SIZE)
    assert fits(gate, 500, size=500 * SIZE)


def test_room_that_is_being_taken_is_promised_to_nobody_else(
    redis: Redis, jobs: JobRecords
) -> None:
    gate = admission(redis, jobs)
    with gate.room() as one, gate.room() as other:
        one.fill(Lane.BULK, images=6, size=0)
        other.fill(Lane.BULK, images=4, size=0)
        assert not fits(gate)
    assert fits(gate)


def test_bytes_are_limited_and_bulk_leaves_room_for_a_person(
    redis: Redis, jobs: JobRecords
) -> None:
    gate = admission(redis, jobs, images=1000, size=10 * SIZE)
    gate.accept([new_job(8)])
    assert not fits(gate, size=SIZE)
    assert fits(gate, lane=Lane.INTERACTIVE, size=SIZE)
    assert not fits(gate, lane=Lane.INTERACTIVE, size=3 * SIZE)


def test_a_redis_with_little_memory_left_takes_results_but_no_pictures(
    redis: Redis, jobs: JobRecords
) -> None:
    gate = admission(redis, jobs, images=1000)
    job = new_job(8)
    gate.accept([job])
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.05))
    try:
        time.sleep(1.01)  # the age at which the numbers are looked at again
        assert not fits(gate, size=SIZE)
        commit(jobs, redis, job)
        assert jobs.reader.get(job.id).succeeded == 8
    finally:
        redis.config_set("maxmemory", 0)


def test_a_full_redis_is_an_overload(full_redis: Redis, jobs: JobRecords) -> None:
    with pytest.raises(Overloaded):
        admission(full_redis, jobs).accept([new_job()])
    assert not full_redis.keys()


@pytest.mark.parametrize("images", [1, 33, 64])
def test_the_bytes_held_are_exactly_those_of_parts_not_yet_committed(
    redis: Redis, jobs: JobRecords, images: int
) -> None:
    first, second = new_job(images), new_job(2)
    jobs.submitter.accept([first])
    jobs.submitter.accept([second])
    assert backlog.read(redis).bytes_held == (images + 2) * SIZE
    for _ in range(2):  # a second delivery takes nothing away
        commit(jobs, redis, first)
    assert backlog.read(redis).bytes_held == 2 * SIZE
    commit(jobs, redis, second)
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_bytes_of_a_part_whose_records_expired_are_given_back(
    redis: Redis, jobs: JobRecords
) -> None:
    job = new_job()
    jobs.submitter.accept([job])
    redis.delete(keys.job(job.id), keys.part(job.id, 0))
    jobs.parts.start([PartRef(job.id, 0, 1)], Lane.BULK)
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_the_bytes_held_are_exact_through_a_split_a_burial_and_a_retry(
    redis: Redis, jobs: JobRecords
) -> None:
    recovery = jobs.recovery
    job = new_job(2)
    jobs.submitter.accept([job])
    whole = PartRef(job.id, 0, 2)
    singles = [PartRef(job.id, 0, 1, k) for k in range(2)]
    for ref in (whole, *singles):
        for _ in range(MAX_ATTEMPTS):
            assert jobs.parts.start([ref], Lane.BULK)
        assert jobs.parts.start([ref], Lane.BULK) == []
        recovery.recover(Lane.BULK)
    assert jobs.reader.get(job.id).failed == 2
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}

    assert jobs.dead_letters.retry(jobs.dead_letters.all()[0])
    assert backlog.read(redis).bytes_held == SIZE
    pipe = redis.pipeline(transaction=False)
    done = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")
    letter = next(ref for ref in singles if redis.zscore(keys.outstanding(Lane.BULK), ref.member))
    jobs.parts.commit(pipe, letter, Lane.BULK, {letter.only or 0: done})
    pipe.execute()
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_the_time_to_return_comes_from_the_drain_rate(redis: Redis, jobs: JobRecords) -> None:
    gate = admission(redis, jobs, images=100)
    gate.accept([new_job(100)])
    second = int(time.time())
    for k in range(-1, 11):
        redis.set(keys.drained(Lane.BULK, second - k), 2)
        redis.set(keys.drained(Lane.INTERACTIVE, second - k), 50)
    with pytest.raises(Overloaded) as refused:
        ask(gate)
    # One image too many and a tenth of the limit, at two images a second and what the second that
    # is not over has had.
    assert refused.value.retry_after_seconds in (5, 6)


def test_commits_are_counted_for_as_long_as_they_are_recent(redis: Redis, jobs: JobRecords) -> None:
    job = new_job(40)
    jobs.submitter.accept([job])
    commit(jobs, redis, job)
    assert 20 < backlog.read(redis).drained[Lane.BULK] <= 40  # a second may have passed
    assert 0 < redis.ttl(redis.keys("drained:*")[0]) <= 30


def test_where_nothing_drains_a_client_is_not_told_to_hurry(redis: Redis, jobs: JobRecords) -> None:
    gate = admission(redis, jobs)
    gate.accept([new_job(10)])
    with pytest.raises(Overloaded) as refused:
        ask(gate)
    assert refused.value.retry_after_seconds == 30


def test_a_lane_with_room_costs_no_round_trip_of_its_own(redis: Redis, jobs: JobRecords) -> None:
    gate = admission(redis, jobs, images=1000)
    fits(gate)
    before = redis.info("stats")["total_commands_processed"]
    for _ in range(100):
        fits(gate)
    assert redis.info("stats")["total_commands_processed"] - before <= 10


def test_a_full_lane_is_looked_at_ten_times_a_second_at_most(
    redis: Redis, jobs: JobRecords
) -> None:
    gate = admission(redis, jobs)
    gate.accept([new_job(10)])
    looks = redis.info("commandstats").get("cmdstat_info", {"calls": 0})["calls"]
    stop = time.monotonic() + 0.5
    while time.monotonic() < stop:
        assert not fits(gate)
    assert redis.info("commandstats")["cmdstat_info"]["calls"] - looks <= 8


def monkeypatch_reads(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows with each read of the counts."""
    reads: list[None] = []
    read = backlog.read

    def counted(redis: Redis) -> backlog.Load:
        reads.append(None)
        return read(redis)

    monkeypatch.setattr(backlog, "read", counted)
    monkeypatch.setattr(admission_module, "_AWAY_SECONDS", 60)
    return reads


def test_in_an_outage_one_caller_finds_out_and_all_others_hear_of_it(
    jobs: JobRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = connect("redis://127.0.0.1:1/0", max_connections=2)
    reads = monkeypatch_reads(monkeypatch)
    gate = admission(away, jobs)
    heard: list[RedisError] = []

    def refused() -> None:
        with pytest.raises(RedisError) as error:
            ask(gate)
        heard.append(error.value)

    threads = [threading.Thread(target=refused) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 50
    assert len(reads) == 1  # one caller found out, and the others heard of it


#: As in the web process, where asking for a lock that is taken lets others run.
_GREENLETS = """
import gevent.monkey; gevent.monkey.patch_all()
import os, signal, sys, time, gevent
from redis.exceptions import RedisError
from shared.records.job_records import JobRecords
from shared.jobs import Lane
from shared.redis_client import connect
from web.submit.admission import Admission

redis = connect(sys.argv[1], max_connections=50)
jobs = JobRecords(redis, result_ttl_seconds=60, part_deadline_seconds=60)
gate = Admission(redis, jobs.submitter, max_images={lane: 10 for lane in Lane}, max_bytes=10)
gate.room().reserve([Lane.BULK], size=1)
server = redis.info("server")["process_id"]
time.sleep(1.1)  # what is known is old now
os.kill(server, signal.SIGSTOP)
stop, heard = time.monotonic() + 2.5, set()

def ask():
    while time.monotonic() < stop:
        try:
            with gate.room() as room:
                room.reserve([Lane.BULK], size=1)
        except Exception as error:
            heard.add(isinstance(error, RedisError))
        gevent.sleep(0)

gevent.joinall([gevent.spawn(ask) for _ in range(20)])
os.kill(server, signal.SIGCONT)
print(heard)
"""


def test_who_asks_while_another_finds_redis_away_hears_of_an_outage(tmp_path: Path) -> None:
    with redis_server.running(tmp_path, free_port()) as url:
        asked = subprocess.run(
            [sys.executable, "-c", _GREENLETS, url], capture_output=True, text=True, check=True
        )
    assert asked.stdout.splitlines()[-1] == "{True}"


# Over HTTP


def submit(client: FlaskClient, images: int = 2, query: str = "") -> TestResponse:
    files = [(io.BytesIO(JPEG + b"%d" % k), f"{k}.jpg") for k in range(images)]
    return client.post(f"/jobs{query}", data={"files": files})


class Unreadable(io.BytesIO):
    """A body that nobody may read."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = readinto = read  # type: ignore[assignment]


def unread(client: FlaskClient, path: str, length: int) -> TestResponse:
    return client.post(
        path,
        input_stream=Unreadable(bytes(length)),
        content_type="multipart/form-data; boundary=x",
    )


def test_a_full_lane_is_503_with_a_time_to_return(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_outstanding_bulk=2).test_client()
    assert submit(client).status_code == 202
    response = submit(client)
    assert (response.status_code, response.json["code"]) == (503, "overloaded")
    assert int(response.headers["Retry-After"]) == 30
    assert submit(client, images=1).status_code == 202  # a person's lane has room


def test_what_is_refused_leaves_nothing_behind(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    client = make_app(max_outstanding_bulk=2).test_client()
    submit(client).close()
    before = set(redis.keys())
    submit(client).close()
    assert set(redis.keys()) == before


def test_a_full_lane_refuses_before_the_body_is_read(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_outstanding_bulk=2, max_outstanding_interactive=1).test_client()
    submit(client).close()
    # Too long for one picture, so for bulk; or for bulk because it says so.
    assert unread(client, "/jobs", 1_000_000).status_code == 503
    assert unread(client, "/jobs?lane=bulk", 1000).status_code == 503
    submit(client, images=1).close()
    assert unread(client, "/jobs", 1000).status_code == 503
    assert unread(client, "/api/v1/classify", 1000).status_code == 503


def test_a_refusal_goes_past_flask(
    make_app: Callable[..., OpenAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under overload it is what the web processes do most."""
    app = make_app(max_outstanding_bulk=2, max_outstanding_interactive=1)
    client = app.test_client()
    submit(client).close()
    submit(client, images=1).close()
    monkeypatch.setattr(app, "full_dispatch_request", lambda: pytest.fail("Flask was asked"))
    for path in ("/jobs?lane=bulk", "/api/v1/jobs", "/api/v1/classify"):
        assert unread(client, path, 1000).json["code"] == "overloaded"


def test_a_refusal_looks_like_every_other_answer(
    make_app: Callable[..., OpenAPI], client: FlaskClient
) -> None:
    full = make_app(max_outstanding_interactive=1).test_client()
    submit(full, images=1).close()
    asked = {"X-Request-Id": "r-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    early = full.post("/api/v1/classify", data=JPEG, headers=asked)
    usual = client.post("/api/v1/classify", data=b"no picture", headers=asked)
    assert (early.status_code, usual.status_code) == (503, 415)
    assert set(early.headers.keys()) == set(usual.headers.keys()) | {"Retry-After"}
    different = {"Content-Length", "traceparent", "Retry-After"}
    for name in set(early.headers.keys()) - different:
        assert early.headers[name] == usual.headers[name], name
    assert early.headers["traceparent"].startswith(f"00-{'a' * 32}-")
    assert early.headers["traceparent"].endswith("-01")
    assert set(early.json) == set(usual.json)


def test_a_second_of_refusals_is_one_line(
    make_app: Callable[..., OpenAPI], capsys: pytest.CaptureFixture[str]
) -> None:
    client = make_app(max_outstanding_bulk=1).test_client()
    submit(client).close()
    for _ in range(20):
        unread(client, "/jobs?lane=bulk", 1000).close()
    time.sleep(1.1)
    lines = capsys.readouterr().out.splitlines()
    assert sum("refused 20 requests: overloaded" in line for line in lines) == 1
    assert not [line for line in lines if "web.http.requests" in line and "503" in line]


def test_a_body_that_holds_too_many_bytes_is_not_read(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_bytes_held=100_000).test_client()
    submit(client, images=1).close()
    assert unread(client, "/api/v1/classify", 100_000).status_code == 503


def test_the_lane_is_said_once_or_twice_the_same(client: FlaskClient) -> None:
    assert submit(client, images=1, query="?lane=bulk").json["lane"] == "bulk"
    files = {"files": (io.BytesIO(JPEG), "a.jpg"), "lane": "interactive"}
    response = client.post("/jobs?lane=bulk", data=files)
    assert (response.status_code, response.json["code"]) == (422, "invalid_request")
    assert submit(client, query="?lane=fast").status_code == 422


def test_a_full_redis_is_503_and_keeps_no_half_of_a_job(client: FlaskClient, redis: Redis) -> None:
    submit(client).close()
    before = set(redis.keys())
    redis.config_set("maxmemory", 1)
    try:
        response = submit(client)
        assert (response.status_code, response.json["code"]) == (503, "overloaded")
        assert "Retry-After" in response.headers
        assert set(redis.keys()) == before
    finally:
        redis.config_set("maxmemory", 0)
    assert submit(client).status_code == 202


def test_every_refusal_is_counted(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_outstanding_bulk=1).test_client()
    submit(client).close()

    def counted() -> list[float]:
        text = client.get("/metrics").text
        refused = value(text, "classifier_refusals_total", code="overloaded", route="/api/v1/jobs")
        answered = value(text, "classifier_http_requests_total", route="/api/v1/jobs", status="503")
        name = "classifier_http_request_duration_seconds_count"
        timed = value(text, name, route="/api/v1/jobs")
        return [each or 0 for each in (refused, answered, timed)]

    before = counted()
    for _ in range(3):
        submit(client).close()
    assert counted() == [each + 3 for each in before]

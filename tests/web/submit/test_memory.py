"""All that a request makes Redis keep counts, so that clients never fill Redis.

In these tests each request comes from another client. test_client_shares.py tries a single one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis

from shared.jobs import Lane, PartRef
from shared.records.job_records import JobRecords
from tests.support.bodies import JPEG
from tests.support.stored_jobs import DONE, commit, new_job
from tests.web.submit.asking import submit
from tests.web.submit.open_jobs.new_jobs import code, digest, learn, open_id, put
from web.submit import admission

MEGABYTE = 2**20


def used(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


@pytest.fixture
def limit_memory(redis: Redis) -> Iterator[Callable[[int], int]]:
    """A function that leaves Redis so many bytes of memory, and gives its `maxmemory`."""

    def left(size: int) -> int:
        limit = used(redis) + size
        redis.config_set("maxmemory", limit)
        return limit

    yield left
    redis.config_set("maxmemory", 0)


@pytest.fixture
def client(make_app: Callable[..., OpenAPI], monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """Without limits on jobs and messages. Web reads the load before each request."""
    monkeypatch.setattr(admission, "_FRESH_SECONDS", 0)
    monkeypatch.setattr(admission, "_FRESH_FOR_REFUSAL_SECONDS", 0)
    limits = ("max_open_jobs", "max_open_images", "max_unfinished_messages")
    app = make_app(**dict.fromkeys(limits, 10**12))
    app.wsgi_app = _Crowd(app.wsgi_app)  # type: ignore[assignment,method-assign]
    return app.test_client()


class _Crowd:
    """Gives each request an address of its own."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._addresses = count()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        number = next(self._addresses)
        environ["REMOTE_ADDR"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        return self._app(environ, start)


def classify(client: FlaskClient, number: int) -> int:
    answer = client.post("/api/v1/classify?wait=0", data=JPEG + b"picture %d" % number)
    return answer.status_code


def test_opening_jobs_is_refused_long_before_redis_is_full(
    client: FlaskClient, redis: Redis, limit_memory: Callable[[int], int]
) -> None:
    limit = limit_memory(4 * MEGABYTE)
    for _ in range(20_000):
        answer = client.post("/jobs", json={"total": 500_000})
        if answer.status_code != 201:
            break
    assert code(answer) == (503, "overloaded")
    assert used(redis) < 0.75 * limit
    assert classify(client, 0) == 202
    # Redis's own buffers come and go, so a job may still find room, but not many do.
    answers = [submit(client) for _ in range(50)]
    assert code(answers[-1]) == (503, "overloaded")


def test_parts_that_are_only_digests_count(
    client: FlaskClient, redis: Redis, limit_memory: Callable[[int], int]
) -> None:
    learn(redis, *range(32))
    limit = limit_memory(4 * MEGABYTE)
    items = [{"name": f"{k}.jpg", "digest": digest(k)} for k in range(32)]
    job_id = open_id(client, 500_000)
    for number in range(10_000):
        answer = put(client, job_id, number, [], items)
        if answer.status_code != 201:
            break
    assert code(answer) == (503, "overloaded")
    assert used(redis) < 0.75 * limit


def test_pictures_that_the_cache_answers_count(
    client: FlaskClient, redis: Redis, limit_memory: Callable[[int], int]
) -> None:
    learn(redis, 0)
    limit = limit_memory(3 * MEGABYTE)
    for _ in range(10_000):
        answer = client.post("/api/v1/classify", data=JPEG + b"0")
        if answer.status_code != 200:
            break
    assert code(answer) == (503, "overloaded")
    assert used(redis) < 0.93 * limit


def test_each_outstanding_picture_keeps_room_for_its_result(
    client: FlaskClient, redis: Redis, jobs: JobRecords, limit_memory: Callable[[int], int]
) -> None:
    """Small pictures take less than their results. Redis has room for the results of all."""
    limit = limit_memory(4 * MEGABYTE)
    accepted = []
    for number in range(10_000):
        if classify(client, number) != 202:
            break
        accepted.append(number)
    assert used(redis) < 0.75 * limit, "the results of these pictures are yet to come"
    pipe = redis.pipeline(transaction=False)
    for key in redis.keys("job:*"):
        ref = PartRef(key.decode().removeprefix("job:"), 0, 1)
        learned = DONE.to_json() + " " * 1_000
        pipe.set(f"result:m-1:{ref.job_id}{'0' * 32}", learned)
        jobs.parts.commit(pipe, ref, Lane.INTERACTIVE, {0: DONE})
    pipe.execute()
    assert len(accepted) > 300
    assert used(redis) < limit


def test_a_full_redis_still_takes_results_and_cancellations(
    redis: Redis, jobs: JobRecords, limit_memory: Callable[[int], int]
) -> None:
    job, other = new_job(40), new_job(40)
    jobs.submitter.accept([job, other])
    limit_memory(-MEGABYTE)
    started = jobs.parts.start([PartRef(job.id, 0, 32)], Lane.BULK)
    assert len(started) == 1
    commit(redis, jobs, job)
    assert jobs.reader.get(job.id).succeeded == 40
    assert jobs.canceller.cancel(other.id)
    assert not redis.exists(f"images:{other.id}:0")


def test_health_and_readiness_tell_of_a_full_redis(
    client: FlaskClient, redis: Redis, limit_memory: Callable[[int], int]
) -> None:
    health = client.get("/api/v1/health").json
    assert health["memory"]["limit_bytes"] == 0 and health["status"] == "no model yet"

    limit = limit_memory(used(redis) // 20)
    health = client.get("/api/v1/health").json
    assert health["status"] == "redis is full"
    assert health["memory"]["limit_bytes"] == limit
    assert 0.9 * limit < health["memory"]["used_bytes"] < limit
    # Results and cancellations still need this process.
    assert client.get("/readyz").status_code == 200

    limit_memory(-(2**16))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (503, "redis is full")

"""An answer of success waits until replicas of Redis have the submission."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask_openapi import OpenAPI
from redis import Redis

from tests.support.servers.redis_process import RedisProcess
from tests.support.waiting import wait_until

PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"
SUBMIT = "/api/v1/classify?wait=0"


@pytest.fixture
def replica(redis: Redis, redis_url: str, tmp_path: Path) -> Iterator[RedisProcess]:
    port = redis_url.rpartition(":")[2].partition("/")[0]
    redis.config_set("repl-diskless-sync-delay", 0)
    server = RedisProcess(tmp_path / "replica", "replicaof", f"127.0.0.1 {port}")
    server.start()
    wait_until(lambda: redis.info("replication").get("slave0", {}).get("state") == "online")
    wait_until(lambda: redis.set("one", "write") and redis.wait(1, 1000) == 1)
    redis.delete("one")
    yield server
    server.stop(signal.SIGKILL)


def test_a_submission_needs_its_replica(
    make_app: Callable[..., OpenAPI], redis: Redis, replica: RedisProcess
) -> None:
    client = make_app(redis_wait_replicas=1).test_client()
    once = {"Idempotency-Key": "once"}
    accepted = client.post(SUBMIT, data=PICTURE)
    assert accepted.status_code == 202
    os.kill(replica.pid, signal.SIGSTOP)
    for _ in range(2):  # a repetition is no answer of success either
        refused = client.post(SUBMIT, data=PICTURE, headers=once)
        assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
        assert "Retry-After" in refused.headers and "Location" not in refused.headers
    cancelled = client.delete(f"/jobs/{accepted.json['id']}")
    assert cancelled.status_code == 503
    assert client.get(f"/jobs/{accepted.json['id']}").status_code == 200
    os.kill(replica.pid, signal.SIGCONT)
    wait_until(lambda: client.post(SUBMIT, data=PICTURE, headers=once).status_code == 202)
    jobs = list(redis.scan_iter("job:*"))
    assert len(jobs) == 2
    with replica.redis() as copy:
        assert all(copy.exists(job) for job in jobs)


def test_a_redis_without_replicas_accepts_nothing(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(redis_wait_replicas=1).test_client()
    assert client.post(SUBMIT, data=PICTURE).status_code == 503
    assert client.post("/jobs", json={"total": 3}).status_code == 503
    assert make_app().test_client().post(SUBMIT, data=PICTURE).status_code == 202

"""Each Redis user of docs/redis-users.acl can do its work, and no more.

The tests of web and of batching give these rights to what they test, so `web` and `worker` are
tested there (tests/web/conftest.py, tests/workers/batching/running_worker.py).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress

import httpx
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from tests.monitoring.watchers import documented_options
from tests.pipeline.delivery.test_backlog_query import COUNT
from tests.support.servers import redis_users
from tests.support.ports import free_port
from tests.support.servers.memory_limit import memory_limit
from tests.support.waiting import wait_until


@pytest.fixture
def user(redis: Redis, redis_url: str, request: pytest.FixtureRequest) -> Iterator[Redis]:
    """A client of the user that the test names."""
    with closing(Redis.from_url(redis_users.address(redis_url, request.param))) as client:
        yield client


@pytest.mark.parametrize("user", ["web", "worker"], indirect=True)
def test_web_and_workers_cannot_administer_redis(user: Redis) -> None:
    user.eval("return redis.call('UNLINK', '')", 0)  # as the scripts do
    user.info()
    for command in (
        "FLUSHALL",
        "KEYS *",
        "CONFIG GET *",
        "ACL LIST",
        "SHUTDOWN",
        "REPLICAOF NO ONE",
    ):
        with pytest.raises(NoPermissionError):
            user.execute_command(*command.split())


@pytest.mark.parametrize("user", ["keda"], indirect=True)
def test_keda_reads_the_backlog_and_nothing_else(redis: Redis, user: Redis) -> None:
    redis.zadd("outstanding:bulk", {"a": 1, "b": 2})
    assert user.eval(COUNT, 1, "outstanding:bulk") == 2
    assert user.eval(COUNT, 1, "outstanding:interactive") == 0
    redis.lpush("bulk", "message")
    for key in ("bulk", "job:a"):
        with pytest.raises(NoPermissionError):
            user.eval(COUNT, 1, key)
    with pytest.raises(NoPermissionError):
        user.zrem("outstanding:bulk", "a")


@pytest.mark.parametrize("user", ["exporter", "watcher"], indirect=True)
def test_programs_that_watch_read_no_picture_and_no_password(user: Redis) -> None:
    user.info("memory")
    for command in ("HGETALL images:a:0", "GET model", "CONFIG GET requirepass", "FLUSHALL"):
        with pytest.raises(NoPermissionError):
            user.execute_command(*command.split())


def test_the_exporter_shows_memory_and_its_limit(redis: Redis, redis_url: str) -> None:
    program = shutil.which("prometheus-redis-exporter")
    if program is None:
        pytest.skip("prometheus-redis-exporter is not installed")
    port = free_port()
    address = redis_url.rpartition("/")[0].removeprefix("redis://")
    command = [program, f"--redis.addr={address}", f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--redis.user=exporter", "--redis.password=EXPORTER_PASSWORD"]
    command += documented_options()["redis_exporter"]
    answers: list[str] = []

    def scraped() -> bool:
        with suppress(httpx.TransportError):
            answers.append(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        return bool(answers)

    exporting = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    with memory_limit(redis, 2**30), exporting as exporter:
        try:
            wait_until(scraped)
        finally:
            exporter.kill()
    assert "\nredis_up 1\n" in answers[0]
    for name in ("redis_memory_used_bytes", "redis_memory_max_bytes"):
        [value] = [line for line in answers[0].splitlines() if line.startswith(f"{name} ")]
        assert float(value.split()[1]) > 0


def test_two_passwords_are_valid_while_one_replaces_the_other(redis: Redis, redis_url: str) -> None:
    old = redis_users.address(redis_url, "web")
    new = old.replace("WEB_PASSWORD", "another")
    try:
        redis.execute_command("ACL", "SETUSER", "web", ">another")
        for url in (old, new):
            with closing(Redis.from_url(url)) as client:
                assert client.ping()
        redis.execute_command("ACL", "SETUSER", "web", "<WEB_PASSWORD")
        with closing(Redis.from_url(new)) as client:
            assert client.ping()
        with closing(Redis.from_url(old)) as client, pytest.raises(AuthenticationError):
            client.ping()
    finally:
        redis.execute_command("ACL", "SETUSER", "web", ">WEB_PASSWORD", "<another")

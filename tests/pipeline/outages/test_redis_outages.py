"""Redis restarts or refuses writes under load. No worker ends, no accepted picture is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis, ResponseError

from shared.jobs import Lane
from tests.pipeline.crowd import Crowd, assert_all_labelled
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

#: Short times, so that what an outage interrupts is soon done again.
_SETTINGS = {
    "PART_DEADLINE_SECONDS": "6",
    "BATCH_TIME_LIMIT_SECONDS": "5",
    "RECONCILE_SECONDS": "1",
    "WORKER_PROCESSES": "1",
    "WEB_PROCESSES": "1",
}


#: What a worker says that Redis refuses.
WAITS = "waiting for Redis at"


@pytest.fixture(scope="module")
def service(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    folder = tmp_path_factory.mktemp("outages")
    with local_service(folder, model_environment | _SETTINGS) as running:
        running.start_worker(Lane.INTERACTIVE)
        running.start_web()
        running.await_ready()
        yield running


def test_a_worker_outlives_restarts_of_redis_under_load(
    service: LocalService, pictures: list[Path]
) -> None:
    worker = service.processes[Lane.INTERACTIVE]
    with Crowd(service, pictures) as crowd:
        for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
            crowd.wait_for_labels(10)
            service.stop_redis(signum)
            time.sleep(0.3)
            service.start_redis()
        crowd.wait_for_labels(10)
    assert_all_labelled(service, crowd)
    assert worker.poll() is None and service.processes[Lane.INTERACTIVE] is worker
    assert service.log(Lane.INTERACTIVE).count("Redis accepts writes again") >= 1


@contextmanager
def read_only(redis: Redis) -> Iterator[None]:
    """READONLY: after a failover the old address is that of a replica."""
    redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    redis.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def full_memory(redis: Redis) -> Iterator[None]:
    """OOM."""
    before = redis.config_get("maxmemory")["maxmemory"]
    redis.config_set("maxmemory", "1mb")
    yield
    redis.config_set("maxmemory", before)


@contextmanager
def full_disk(redis: Redis) -> Iterator[None]:
    """MISCONF: a snapshot could not be written, here because a folder has its name."""
    folder = Path(redis.config_get("dir")["dir"]) / "dump.rdb"
    folder.mkdir()
    redis.config_set("save", "3600 1")
    redis.bgsave()
    while redis.info("persistence")["rdb_bgsave_in_progress"]:
        time.sleep(0.02)
    yield
    redis.config_set("save", "")
    folder.rmdir()


@contextmanager
def no_replica(redis: Redis) -> Iterator[None]:
    """NOREPLICAS: fewer replicas than `min-replicas-to-write` asks for."""
    redis.config_set("min-replicas-to-write", 1)
    yield
    redis.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize(
    "refusing",
    [
        read_only,
        full_memory,
        full_disk,
        no_replica,
    ],
    ids=lambda refusing: refusing.__name__,
)
def test_a_worker_waits_while_redis_refuses_writes(
    service: LocalService, pictures: list[Path], refusing: Callable[[Redis], object]
) -> None:
    worker = service.processes[Lane.INTERACTIVE]
    already = len(service.log(Lane.INTERACTIVE))
    with Crowd(service, pictures) as crowd, closing(service.redis()) as redis:
        crowd.wait_for_labels(10)
        with refusing(redis):  # type: ignore[attr-defined]
            with pytest.raises(ResponseError):
                redis.set("refused", "x" * 100)
            wait_until(lambda: WAITS in service.log(Lane.INTERACTIVE)[already:])
            time.sleep(1)  # it still waits
        crowd.wait_for_labels(10)
    assert_all_labelled(service, crowd)
    assert worker.poll() is None and service.processes[Lane.INTERACTIVE] is worker
    log = service.log(Lane.INTERACTIVE)[already:]
    assert log.count(WAITS) == log.count("Redis accepts writes again") == 1


def test_a_redis_that_comes_back_empty_gets_the_model_again(
    service: LocalService, pictures: list[Path]
) -> None:
    service.redis().flushall()
    service.await_ready()
    picture = pictures[0].read_bytes() + b"after the flush"
    answer = httpx.post(f"{service.base_url}/api/v1/classify?wait=30", content=picture, timeout=60)
    assert answer.status_code == 200, answer.text


# The last test of this file, because it ends the worker.
def test_a_waiting_worker_beats_for_its_probe_and_stops_when_it_is_asked_to(
    service: LocalService,
) -> None:
    heartbeat = Path(service.environment["DATA_DIR"]) / "heartbeat-interactive"
    service.stop_redis()
    try:
        time.sleep(1.5)
        before, give_up = heartbeat.stat().st_mtime, time.monotonic() + 10
        while heartbeat.stat().st_mtime == before:
            assert time.monotonic() < give_up, "the probe would restart the worker"
            time.sleep(0.05)
        service.stop(Lane.INTERACTIVE)
    finally:
        service.start_redis()

"""The commands of docs/redis.md copy and restore a Redis with jobs that wait."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from shared import keys
from shared.jobs import Lane, NewItem, NewJob, PartRef
from shared.records.job_records import JobRecords
from tests.support.servers.redis_process import KEEPS, RedisProcess
from tests.support.work import commit

_TEXT = (Path(__file__).parents[2] / "docs/redis.md").read_text().partition("## Backup")[2]
BACK_UP, RESTORE, WRITE_APPEND_ONLY_FILE = re.findall(r"```sh\n(.*?)```", _TEXT, re.DOTALL)

Start = Callable[..., RedisProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    servers: list[RedisProcess] = []

    def start(name: str, *options: str) -> RedisProcess:
        server = RedisProcess(tmp_path / name, *KEEPS, *options)
        servers.append(server)
        server.start()
        with server.redis() as redis:
            if int(redis.info("server")["redis_version"].partition(".")[0]) < 7:
                pytest.skip("Redis 6 has one append-only file and no folder")
        return server

    if not shutil.which("redis-cli"):
        pytest.skip("redis-cli is not installed")
    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


def follow(commands: str, server: RedisProcess, backup: Path) -> None:
    """Run commands of the document. `server` need not run for all of them."""
    commands = commands.replace("redis-cli", f"redis-cli -p {server.port}")
    environment = os.environ | {"DATA": str(server.folder), "BACKUP": str(backup)}
    subprocess.run(
        ["sh", "-euc", commands], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=60
    )


def records(redis: Redis) -> JobRecords:
    return JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60)


def submit(redis: Redis, job_id: str) -> None:
    item = NewItem(name="a.jpg", digest=job_id, data=os.urandom(100_000))
    job = NewJob(id=job_id, lane=Lane.INTERACTIVE, top_k=5, items=[item])
    records(redis).submitter.accept([job])


def test_a_copy_of_a_redis_at_work_restores_every_job_before_it(
    start: Start, tmp_path: Path
) -> None:
    backup, over, later = tmp_path / "backup", threading.Event(), 0
    backup.mkdir()
    server = start("old")
    with closing(server.redis()) as redis:
        for number in range(20):
            submit(redis, f"before{number}")
        redis.bgrewriteaof()  # the copy waits for its end

        def work() -> None:
            nonlocal later
            with closing(server.redis()) as own:
                while not over.is_set():
                    submit(own, f"later{later}")
                    later += 1

        worker = threading.Thread(target=work)
        worker.start()
        follow(BACK_UP, server, backup)
        over.set()
        worker.join()
        assert later and redis.config_get("auto-aof-rewrite-percentage") == {
            "auto-aof-rewrite-percentage": "100"
        }
    server.stop(signal.SIGKILL)

    new = RedisProcess(tmp_path / "new", *KEEPS)
    follow(RESTORE, new, backup)
    restored = start("new")
    with closing(restored.redis()) as redis:
        for number in range(20):
            ref = PartRef(f"before{number}", 0, 1)
            assert len(redis.hget(keys.images(ref.job_id, 0), "0")) == 100_000
            commit(f"redis://127.0.0.1:{restored.port}/0", ref)
            assert records(redis).reader.get(ref.job_id).state == "completed"
        # A job is there as a whole, or not at all.
        jobs = {key.split(b":")[1] for key in redis.scan_iter("job:later*")}
        parts = {key.split(b":")[1] for key in redis.scan_iter("part:later*")}
        assert jobs == parts and len(jobs) <= later
        assert redis.zcard(keys.outstanding(Lane.INTERACTIVE)) == len(jobs)


def test_a_snapshot_file_is_not_read_beside_an_append_only_file(
    start: Start, tmp_path: Path
) -> None:
    with closing(start("old").redis()) as redis:
        submit(redis, "job")
        redis.save()
        folder = Path(redis.config_get("dir")["dir"])
    snapshot = folder / "dump.rdb"
    (tmp_path / "empty").mkdir()
    shutil.copy(snapshot, tmp_path / "empty")
    with closing(start("empty").redis()) as redis:
        assert redis.dbsize() == 0

    (tmp_path / "restored").mkdir()
    shutil.copy(snapshot, tmp_path / "restored")
    server = start("restored", "appendonly", "no")
    follow(WRITE_APPEND_ONLY_FILE, server, tmp_path)
    server.stop(signal.SIGKILL)
    (server.folder / "server.conf").unlink()
    with closing(start("restored").redis()) as redis:
        assert records(redis).reader.get("job").total == 1

"""Measure how much each component can carry alone, to see which one is full first.

    python -m loadtest.scaling.components --seconds 3 --publish

The components are Redis with and without the bytes of pictures, the main process of a worker, and
connections. Everything runs on this machine, also the clients. It prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis

from loadtest.publish import document
from tests.support.local_service import LocalService, local_service
from quickstart import redis_server
from shared import keys
from shared.records.job_records import JobRecords
from shared.jobs import (
    PART_SIZE,
    Durations,
    ItemState,
    Lane,
    NewItem,
    NewJob,
    Outcome,
    PartRef,
    new_job_id,
)
from shared.message import message
from shared.redis_client import connect

#: The median of real pictures.
_PICTURE_BYTES = 107_000

_CLIENTS = 2
_MESSAGES = 4000
_IDLE_CONNECTIONS = 500


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=float, default=3, help="of each measurement")
    arguments.add_argument("--publish", action="store_true", help="write docs/scaling.md")
    options = arguments.parse_args()
    table = "\n".join(["| component | carries |", "|---|--:|", *_rows(options.seconds)])
    print(table)
    if options.publish:
        document.fill("components", table, document.ROOT / "docs/scaling.md")


def _rows(seconds: float) -> Iterator[str]:
    for policy in ("no", "always"):
        rate = _alone(partial(_accepting, _PICTURE_BYTES, seconds), policy)
        yield _row(
            f"Redis stores pictures of 107 KB, `appendfsync {policy}`", rate, bytes_each=True
        )
    yield _row(
        "Redis stores pictures whose bytes are elsewhere", _alone(partial(_accepting, 1, seconds))
    )
    for size, where in ((_PICTURE_BYTES, "of 107 KB"), (1, "whose bytes are elsewhere")):
        taken = _alone(partial(_draining, size, seconds))
        name = f"Redis delivers pictures {where} to workers and stores their results"
        yield _row(name, taken, bytes_each=size > 1)
    with _service() as service:
        rate = _messages(service)
        yield f"| a worker's main process, one image per message | {rate:,.0f} messages/s |"
        yield from _connections(service)


def _row(name: str, rate: float, *, bytes_each: bool = False) -> str:
    megabytes = f", {rate * _PICTURE_BYTES / 1e6:,.0f} MB/s" if bytes_each else ""
    return f"| {name} | {rate:,.0f} images/s{megabytes} |"


def _alone(measure: Callable[[str], float], appendfsync: str = "no") -> float:
    """Measure with an empty Redis of its own."""
    with tempfile.TemporaryDirectory() as folder, local_service(Path(folder), {}) as service:
        with closing(service.redis()) as redis:
            redis.config_set("appendfsync", appendfsync)
        return measure(service.redis_url)


def _accepting(size: int, seconds: float, url: str) -> float:
    """Images per second that several writers store and queue, one part at a time."""
    return _together(_write, [(url, size)] * _CLIENTS, seconds)


def _draining(size: int, seconds: float, url: str) -> float:
    """Images per second that several readers fetch and commit, one part at a time."""
    _accepting(size, seconds, url)
    with closing(connect(url, max_connections=1)) as redis:
        members = redis.zrange(keys.outstanding(Lane.BULK), 0, -1)
    return _together(_drain, [(url, members[k::_CLIENTS]) for k in range(_CLIENTS)], seconds)


def _together(act: Callable[..., int], clients: list[tuple[str, Any]], seconds: float) -> float:
    with multiprocessing.get_context("spawn").Pool(len(clients)) as pool:
        calls = [(act, seconds, *each) for each in clients]
        return sum(pool.starmap(_rate, calls))


def _rate(act: Callable[..., int], seconds: float, *arguments: Any) -> float:
    started = time.perf_counter()
    count = act(*arguments, started + seconds)
    return count / (time.perf_counter() - started)


def _records(redis: Redis) -> JobRecords:
    return JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=3600)


def _write(url: str, size: int, until: float) -> int:
    redis = connect(url, max_connections=1)
    data = os.urandom(size)
    written = 0
    while time.perf_counter() < until:
        items = [
            NewItem(name=f"{k}.jpg", digest=f"{written + k:064x}", data=data) for k in range(32)
        ]
        _records(redis).submitter.accept(
            [NewJob(id=new_job_id(), lane=Lane.BULK, top_k=5, items=items)]
        )
        written += PART_SIZE
    return written


def _drain(url: str, members: list[bytes], until: float) -> int:
    """Send the commands of a pool process for these parts, without decoding the pictures."""
    redis = connect(url, max_connections=1)
    parts = _records(redis).parts
    outcome = Outcome(
        state=ItemState.SUCCEEDED,
        model_version="measured",
        durations=Durations(queue_ms=1, preprocess_ms=1, inference_ms=1),
    )
    drained = 0
    for member in members:
        if time.perf_counter() >= until:
            break
        [work] = parts.start([PartRef.from_member(member.decode())], Lane.BULK)
        pipe = redis.pipeline(transaction=False)
        parts.commit(pipe, work.ref, Lane.BULK, dict.fromkeys(work.digests, outcome))
        pipe.execute()
        drained += len(work.digests)
    return drained


@contextmanager
def _service() -> Iterator[LocalService]:
    """Web and a worker. The smallest weights are enough, because nothing is classified."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "MODEL_WEIGHTS": "demonstration",
            "WORKER_PROCESSES": "2",
            "WEB_PROCESSES": "1",
            "DATA_DIR": f"{folder}/data",
        }
        subprocess.run(
            [sys.executable, "-m", "workers.engine.export"],
            env=environment,
            check=True,
            stdout=sys.stderr,
        )
        with local_service(Path(folder), environment) as service:
            yield service


def _messages(service: LocalService) -> float:
    """Messages per second of parts that are committed already, so only delivery is measured."""
    with closing(service.redis()) as redis:
        for _ in range(_MESSAGES):
            redis.lpush(Lane.INTERACTIVE, message(Lane.INTERACTIVE, [PartRef("0" * 32, 0, 1)]))
        service.start_worker(Lane.INTERACTIVE)
        while (left := redis.llen(Lane.INTERACTIVE)) == _MESSAGES:
            time.sleep(0.01)
        started = time.perf_counter()
        while redis.llen(Lane.INTERACTIVE):
            time.sleep(0.01)
        return left / (time.perf_counter() - started)


def _connections(service: LocalService) -> Iterator[str]:
    with closing(service.redis()) as redis:
        yield f"| connections to Redis of a worker with two processes | {_count(redis)} |"
        before = _count(redis)
        service.start_web()
        service.await_ready()
        yield f"| connections of a web process, idle | {_count(redis) - before} |"
        used = redis.info("memory")["used_memory"]
        idle = [connect(service.redis_url, max_connections=1) for _ in range(_IDLE_CONNECTIONS)]
        for each in idle:
            each.ping()
        each_one = (redis.info("memory")["used_memory"] - used) / _IDLE_CONNECTIONS
        yield f"| memory of an idle connection in Redis | {each_one / 1000:.0f} KB |"
        for each in idle:
            each.connection_pool.disconnect()


def _count(redis: Redis) -> int:
    return len(redis.client_list()) - 1


if __name__ == "__main__":
    redis_server.find()
    main()

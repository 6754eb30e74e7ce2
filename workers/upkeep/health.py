"""`python -m workers.upkeep.health` checks for probes whether a worker's event loop is running.

It checks the worker of `LANE`, or with the argument `webhooks` the one that delivers webhooks. It
only reads the age of a file, without broker and model, so it takes a tenth of a second.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from shared.settings import Settings

#: The event loop touches the file every few seconds. An unreachable Redis may delay it.
MAX_AGE_SECONDS = 30


def beat(path: Path) -> None:
    """Record that the event loop is running."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def problem(path: Path) -> str | None:
    """What is wrong with the worker, or None."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return f"no heartbeat: {path} does not exist"
    if age > MAX_AGE_SECONDS:
        return f"no heartbeat for {age:.0f} s: {path}"
    return None


if __name__ == "__main__":
    settings = Settings()
    [program] = sys.argv[1:] or [settings.lane]
    sys.exit(problem(settings.heartbeat_file(program)))

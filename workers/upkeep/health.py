"""`python -m workers.upkeep.health`: whether the worker's event loop turns. For probes.

The worker of `LANE`, or with `webhooks` behind the command the one that delivers them. Reads the
age of a file: no broker, no model, a tenth of a second.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from shared.settings import Settings

#: The loop touches the file every few seconds; a publish to a Redis that is away may hold it.
MAX_AGE_SECONDS = 30


def beat(path: Path) -> None:
    """Say that the event loop turns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def problem(path: Path) -> str | None:
    """What is wrong, or None."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return f"no heartbeat: {path} is not there"
    if age > MAX_AGE_SECONDS:
        return f"no heartbeat for {age:.0f} s: {path}"
    return None


if __name__ == "__main__":
    settings = Settings()
    [program] = sys.argv[1:] or [settings.lane]
    sys.exit(problem(settings.heartbeat_file(program)))

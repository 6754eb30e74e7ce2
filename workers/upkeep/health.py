"""`python -m workers.upkeep.health` checks for probes whether a worker's event loop is running.

It checks the worker of `LANE`, or with the argument `webhooks` the one that delivers webhooks. It
only reads a file, without broker and model, so it takes a tenth of a second. The file holds the
machine's monotonic clock: a machine that sleeps stops it, and setting the time does not move it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from shared.settings import Settings

#: The event loop writes the file every few seconds. An unreachable Redis may delay it.
MAX_AGE_SECONDS = 30


def beat(path: Path) -> None:
    """Record that the event loop is running."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A probe that reads while the file is written must not find it empty.
    new = path.with_name(f"{path.name}.new")
    new.write_text(str(time.monotonic()))
    new.replace(path)


def problem(path: Path) -> str | None:
    """What is wrong with the worker, or None."""
    try:
        age = time.monotonic() - float(path.read_text())
    except FileNotFoundError:
        return f"no heartbeat: {path} does not exist"
    except ValueError:
        return f"no heartbeat: {path} holds no time"
    # The clock starts again with the machine: a time of an earlier start may lie ahead of it.
    if not 0 <= age <= MAX_AGE_SECONDS:
        return f"no heartbeat for {age:.0f} s: {path}"
    return None


if __name__ == "__main__":
    settings = Settings()
    [program] = sys.argv[1:] or [settings.lane]
    sys.exit(problem(settings.heartbeat_file(program)))

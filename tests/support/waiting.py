"""Waiting for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(
    true: Callable[[], object], seconds: float = 20, *, problem: Callable[[], object] | str = ""
) -> None:
    """Return when `true()` is. After `seconds` the test fails with `problem`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(problem() if callable(problem) else problem)
        time.sleep(0.05)

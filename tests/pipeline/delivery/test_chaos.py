"""A short run under faults; `make chaos` does a long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long


def test_nothing_accepted_is_lost_while_any_process_may_die(
    pictures: list[Path], model_environment: dict[str, str]
) -> None:
    command = ["-m", "loadtest.chaos", str(pictures[0].parent), "--images", "500", "--seed", "11"]
    run = subprocess.run(
        [sys.executable, *command],
        env=model_environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]
    assert "| lost | 0 |" in run.stdout

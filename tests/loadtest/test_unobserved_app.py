"""The worker without metrics and logs really leaves them out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_it_replaces_each_method_of_the_report_that_observes() -> None:
    # In a process of its own, because the import changes the worker's classes.
    program = (
        "from loadtest.unobserved_app import Unobserved\n"
        "from workers.classify.batch_report import BatchReport\n"
        "public = {name for name in vars(BatchReport) if not name.startswith('_')}\n"
        "print(public - vars(Unobserved).keys())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "set()\n"

"""Programs that tests start."""

from __future__ import annotations

import os
import shutil

import pytest


def installed(name: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    path = shutil.which(name)
    if not path:
        assert not os.environ.get("CI"), f"continuous integration installs {name}"
        pytest.skip(f"{name} is not installed")
    return path

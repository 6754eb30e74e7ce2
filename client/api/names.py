"""File names as text: on a disk they are bytes, and need not be valid in any encoding."""

from __future__ import annotations

import os


def shown(path: str) -> str:
    """Valid text; bytes that are none come as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")

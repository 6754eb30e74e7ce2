"""File paths as valid text. On a disk a path is bytes, which need not be UTF-8."""

from __future__ import annotations

import os


def path_text(path: str) -> str:
    """The path as valid text. A byte that is not UTF-8 becomes `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")

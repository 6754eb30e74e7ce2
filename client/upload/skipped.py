"""What an upload leaves out, counted by kind."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable

from ..text import count_text
from .plan import path_key

#: Why a file of another kind is skipped.
NO_PICTURE = "not a picture"
INNER_FOLDER = "a folder inside; read it with --recursive"

#: Kinds that are no ending of a file name.
FOLDERS, NO_ENDING, OTHERS = "folders inside", "without an ending", "other"

#: As a kind stands after the number 1, where that differs.
_ONE = {FOLDERS: "folder inside"}

#: A longer "ending" is a part of a name.
_LONGEST_ENDING = 12


class Skipped:
    """Counts each path once, also if a folder is walked many times."""

    def __init__(self, report: Callable[[str, str], None], *, show: bool) -> None:
        """`report(path, reason)` is called for what is unusual; with `show`, for all."""
        self._report = report
        self._show = show
        self._seen: set[bytes] = set()
        self._lock = threading.Lock()
        self.kinds: Counter[str] = Counter()

    def __call__(self, path: str, reason: str) -> None:
        key = path_key(path)
        with self._lock:
            if key in self._seen:
                return
            self._seen.add(key)
            self.kinds[_kind(path, reason)] += 1
        if self._show or reason not in (NO_PICTURE, INNER_FOLDER):
            self._report(path, reason)


def skipped_line(kinds: Counter[str] | dict[str, int]) -> str:
    """`20 skipped: 12 .txt, 8 .mp4; list them with --show-skipped`."""
    by_number = sorted(kinds.items(), key=lambda each: (-each[1], each[0]))
    parts = ", ".join(count_text(number, _ONE.get(kind, kind), kind) for kind, number in by_number)
    return f"{sum(kinds.values()):,} skipped: {parts}; list them with --show-skipped"


def _kind(path: str, reason: str) -> str:
    if reason == INNER_FOLDER:
        return FOLDERS
    if reason != NO_PICTURE:
        return OTHERS
    ending = os.path.splitext(path)[1].lower()
    return ending if 1 < len(ending) <= _LONGEST_ENDING and ending.isascii() else NO_ENDING

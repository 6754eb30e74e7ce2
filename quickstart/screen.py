"""The terminal, or the file, that shows the lines of all programs together."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TextIO

from shared.observe.escape import escaped

#: Stands in front of the launcher's own lines.
LAUNCHER = "quickstart"


class Screen:
    """Shows whole lines, each behind the name of its program, in colour on a terminal."""

    def __init__(self, output: TextIO, names: Sequence[str]) -> None:
        self._output = output
        self._lock = threading.Lock()
        width = max(map(len, [LAUNCHER, *names]))
        self._prefixes = {LAUNCHER: f"{LAUNCHER:{width}} | "}
        for number, name in enumerate(names):
            prefix = f"{name:{width}} | "
            colour = f"\033[{31 + number % 6}m{prefix}\033[0m"
            self._prefixes[name] = colour if output.isatty() else prefix

    def show(self, name: str, text: str) -> None:
        """Raises OSError where the output is closed.

        Libraries print lines of their own, so unsafe characters are escaped here once more.
        """
        with self._lock:
            self._output.write(f"{self._prefixes[name]}{escaped(text.rstrip())}\n")
            self._output.flush()

    def go_dark(self) -> None:
        """Let later lines go nowhere, instead of failing."""
        with self._lock:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._output.fileno())

"""The terminal, or the file, that shows the lines of all programs together."""

from __future__ import annotations

import os
import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol, TextIO

from shared.observe.escape import escaped

#: Stands in front of the launcher's own lines where each line has its program in front.
LAUNCHER = "quickstart"

#: The level of a line of our log, see shared.observe.log.
_LEVEL = re.compile(r"\d\d:\d\d:\d\d ([A-Z]+) ")
_LOUD = ("WARNING", "ERROR", "CRITICAL")
#: The first and the last line of what Python prints of an exception that nothing caught.
_EXCEPTION = re.compile(r"Traceback |Exception |Fatal |[\w.]*Error\b")

_COLOURS = {"WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m"}

#: Lines of a program that explain its end, if it has shown none.
_LAST_LINES = 8


class Log(Protocol):
    def write(self, line: str) -> None: ...


class Screen:
    """Shows whole lines, each behind the name of its program.

    A calm screen shows warnings, errors and the lines that are for the user. The log has all lines.
    """

    def __init__(
        self,
        output: TextIO,
        names: Sequence[str],
        *,
        calm: bool = False,
        for_user: Sequence[str] = (),
        log: Log | None = None,
    ) -> None:
        """`for_user` has the names of programs whose lines a calm screen shows as they are."""
        self._output = output
        self._calm = calm
        self._for_user = {LAUNCHER, *for_user}
        self._log = log
        self._lock = threading.Lock()
        width = max(map(len, [LAUNCHER, *names]))
        self._prefixes = {name: f"{name:{width}} | " for name in [LAUNCHER, *names]}
        self._colours = {name: f"\033[{31 + k % 6}m" for k, name in enumerate(names)}
        self._in_colour = output.isatty()
        #: The level of the last line of each program that had one; "" for no level.
        self._levels: dict[str, str] = defaultdict(str)
        self._hidden: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_LAST_LINES))
        self._has_shown: set[str] = set()
        self._left_to_log: set[str] = set()

    def show(self, name: str, text: str) -> None:
        """Raises OSError where the output is closed.

        Libraries print lines of their own, so unsafe characters are escaped here once more.
        """
        line = escaped(text.rstrip())
        with self._lock:
            self._write_log(name, line)
            if not self._calm:
                self._print(f"{self._prefix(name, self._colours.get(name, ''))}{line}")
            elif name in self._left_to_log:
                pass
            elif name in self._for_user:
                self._print(line)
            elif (level := self._level(name, line)) in _LOUD:
                self._has_shown.add(name)
                self._print(f"{self._prefix(name, _COLOURS[level])}{line}")
            else:
                self._hidden[name].append(line)

    def say(self, text: str) -> None:
        """A line of the launcher. It is lost where the output is closed."""
        with suppress(OSError):
            self.show(LAUNCHER, text)

    def note(self, name: str, text: str) -> None:
        """A line that a calm screen leaves to the log. Raises OSError like `show`."""
        if not self._calm:
            return self.show(name, text)
        with self._lock:
            self._write_log(name, escaped(text))

    def explain(self, name: str) -> None:
        """Show the last lines of a program that ended, unless it has shown a warning or an error.

        Raises OSError like `show`.
        """
        with self._lock:
            if name not in self._has_shown:
                for line in self._hidden.pop(name, ()):
                    self._print(f"{self._prefix(name, '')}{line}")

    def leave_to_log(self, names: Iterable[str]) -> None:
        """Let a calm screen show no later lines of these programs.

        They are stopped because another one has ended. What they say of that explains nothing.
        """
        with self._lock:
            self._left_to_log |= set(names)

    def go_dark(self) -> None:
        """Let later lines go nowhere, instead of failing."""
        with self._lock:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._output.fileno())

    def _level(self, name: str, line: str) -> str:
        if match := _LEVEL.match(line):
            self._levels[name] = match[1]
        elif _EXCEPTION.match(line):
            self._levels[name] = "ERROR"
        # Any other line continues the one before it.
        return self._levels[name]

    def _prefix(self, name: str, colour: str) -> str:
        prefix = self._prefixes[name]
        return f"{colour}{prefix}\033[0m" if colour and self._in_colour else prefix

    def _write_log(self, name: str, line: str) -> None:
        if self._log:
            self._log.write(f"{self._prefixes[name]}{line}")

    def _print(self, line: str) -> None:
        self._output.write(f"{line}\n")
        self._output.flush()

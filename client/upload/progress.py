"""Tells a person how an upload goes: a bar on a terminal, lines elsewhere. On standard error."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Task

#: Between two lines where there is no terminal.
_LINE_SECONDS = 10.0

#: The rate is of this long: what has passed says little of what is to come.
_RATE_SECONDS = 30.0


class Progress(Protocol):
    total: int | None  #: Pictures in all; None while they are being counted.

    def show(self, *, done: int, failed: int) -> None: ...

    def tell(self, text: str) -> None:
        """One line. Any thread may call it."""

    def close(self) -> None: ...


class Rate:
    """Images per second of the last while."""

    def __init__(self) -> None:
        self._seen = [(time.monotonic(), -1)]

    def note(self, done: int) -> None:
        now = time.monotonic()
        if self._seen[0][1] < 0:
            # What an earlier run has done is no work of this one.
            self._seen = [(self._seen[0][0], done)]
        self._seen.append((now, done))
        while now - self._seen[1][0] > _RATE_SECONDS:
            del self._seen[0]

    @property
    def per_second(self) -> float:
        (then, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - then) if now > then else 0.0


class Silent:
    """Nothing is told but errors, which the command tells at its end."""

    total: int | None = None

    def show(self, *, done: int, failed: int) -> None:
        pass

    def tell(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """For a log: a line every ten seconds, and what is told."""

    total: int | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rate = Rate()
        self._next = time.monotonic() + _LINE_SECONDS

    def show(self, *, done: int, failed: int) -> None:
        self._rate.note(done)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_SECONDS
            self.tell(_line(done, self.total, failed, self._rate.per_second))

    def tell(self, text: str) -> None:
        # One write, so that lines of two threads stay whole.
        self._stream.write(_printable(text) + "\n")
        self._stream.flush()

    def close(self) -> None:
        pass


class Bar:
    """For a terminal."""

    def __init__(self) -> None:
        from rich.console import Console  # slow to import, and only needed here
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.text import Text

        self._text = Text
        self._rate = Rate()
        self._lock = threading.Lock()
        self._console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[line]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, line="reading the folder")
        self._bar.start()

    @property
    def total(self) -> int | None:
        total = self._find().total
        return None if total is None else int(total)

    @total.setter
    def total(self, total: int | None) -> None:
        self._bar.update(self._task, total=total)

    def show(self, *, done: int, failed: int) -> None:
        self._rate.note(done)
        line = _line(done, self.total, failed, self._rate.per_second)
        self._bar.update(self._task, completed=done, line=line)

    def tell(self, text: str) -> None:
        with self._lock:
            # As Text: file names may hold rich's markup.
            self._console.print(self._text(_printable(text)), soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()

    def _find(self) -> Task:
        [task] = self._bar.tasks
        return task


def progress_for(stream: TextIO, *, silent: bool = False) -> Progress:
    if silent:
        return Silent()
    return Bar() if stream is sys.stderr and stream.isatty() else Lines(stream)


def duration(seconds: float) -> str:
    """In two units at most, and a second at least: `1 h 5 min`, `2 min 9 s`, `48 s`."""
    minutes, left = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def _line(done: int, total: int | None, failed: int, per_second: float) -> str:
    of_all = f"{done:,}" if total is None else f"{done:,} of {total:,}"
    parts = [f"{of_all} pictures", f"{per_second:.0f} images/s"]
    if total is not None and per_second > 0 and total > done:
        parts.append(f"{duration((total - done) / per_second)} left")
    return ", ".join([*parts, f"{failed:,} failed"])


def _printable(text: str) -> str:
    """A name must not steer the terminal, or end a line of a log."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)

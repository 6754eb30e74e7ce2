"""The progress of an upload on standard error: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from ..text import count_text, escaped
from ..upload.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Task

#: Time between two lines.
_LINE_SECONDS = 10.0

#: The rate is measured over this time. An older rate says little about the time left.
_RATE_SECONDS = 30.0

#: A rate over a shorter time is not shown: pictures are done in groups, and the first ones wait.
_LEAST_SECONDS = 5.0


class Rate:
    """Pictures per second, lately. The time before the first pictures are done does not count."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, int]] = []

    def note(self, done: int) -> None:
        """`done` counts the pictures of this run."""
        now = time.monotonic()
        if not self._samples or done == self._samples[0][1]:
            self._samples = [(now, done)]
        self._samples.append((now, done))
        while now - self._samples[1][0] > _RATE_SECONDS and len(self._samples) > 2:
            del self._samples[0]

    @property
    def per_second(self) -> float:
        if not self._samples:
            return 0.0
        (then, before), (now, done) = self._samples[0], self._samples[-1]
        return (done - before) / (now - then) if now > then else 0.0

    @property
    def is_known(self) -> bool:
        return bool(self._samples) and self._samples[-1][0] - self._samples[0][0] >= _LEAST_SECONDS


class Silent:
    """Reports nothing."""

    total: int | None = None

    def show(self, *, done: int, failed: int, earlier: int = 0) -> None:
        pass

    def report(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line every ten seconds, for a log."""

    total: int | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rate = Rate()
        self._next = time.monotonic() + _LINE_SECONDS

    def show(self, *, done: int, failed: int, earlier: int = 0) -> None:
        self._rate.note(done - earlier)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_SECONDS
            self.report(_line(done, self.total, failed, self._rate))

    def report(self, text: str) -> None:
        # One write, so that the lines of two threads do not mix.
        self._stream.write(escaped(text) + "\n")
        self._stream.flush()

    def close(self) -> None:
        pass


class Bar:
    """A bar, for a terminal."""

    def __init__(self) -> None:
        # rich is slow to import, so only this class imports it.
        from rich.console import Console
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
        total = self._only_task().total
        return None if total is None else int(total)

    @total.setter
    def total(self, total: int | None) -> None:
        self._bar.update(self._task, total=total)

    def show(self, *, done: int, failed: int, earlier: int = 0) -> None:
        self._rate.note(done - earlier)
        line = _line(done, self.total, failed, self._rate)
        self._bar.update(self._task, completed=done, line=line)

    def report(self, text: str) -> None:
        with self._lock:
            # As Text, because a file name may contain rich's markup.
            self._console.print(self._text(escaped(text)), soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()

    def _only_task(self) -> Task:
        [task] = self._bar.tasks
        return task


def progress_for(stream: TextIO, *, silent: bool = False) -> Progress:
    if silent:
        return Silent()
    return Bar() if stream is sys.stderr and stream.isatty() else Lines(stream)


def duration(seconds: float) -> str:
    """The time as text, at least one second: `1 h 5 min`, `2 min 9 s`, `48 s`."""
    minutes, left = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def _line(done: int, total: int | None, failed: int, rate: Rate) -> str:
    of_all = "" if total is None else f"{done:,} of "
    parts = [of_all + count_text(done if total is None else total, "picture")]
    speed = rate.per_second
    if speed > 0 and (rate.is_known or done == total):
        parts.append(f"{speed:.1f} pictures/s" if speed < 10 else f"{speed:,.0f} pictures/s")
        if total is not None and total > done:
            parts.append(f"{duration((total - done) / speed)} left")
    return ", ".join([*parts, f"{failed:,} failed"])

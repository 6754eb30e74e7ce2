"""Runs a program that classifies a folder, measures it, and kills it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pyarrow import ArrowInvalid, parquet

from loadtest.peers.folder.labels import PROGRESS
from loadtest.publish.document import ROOT

#: A program that takes longer than this is ended, and counts as failed.
_MOST_SECONDS = 300

_BETWEEN_SAMPLES_SECONDS = 0.25

#: These programs report their use to their makers unless this is set.
_SILENT = {"DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0", "DAFT_PROGRESS_BAR": "0"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a program to its end."""

    seconds: float
    megabytes: float  #: The highest memory of all its processes together.
    succeeded: bool


@dataclass
class Program:
    """A program with its output, and the processes that it uses without having started them."""

    command: Sequence[str]
    folder: Path  #: For its log and its progress.
    others: Sequence[psutil.Process] = ()
    classified: int = 0  #: Pictures that its own processes have classified, in all runs.
    #: Processes that it has started.
    _family: set[psutil.Process] = field(default_factory=set)

    def run(
        self, *more: str, during: Callable[[subprocess.Popen[bytes]], None] | None = None
    ) -> Run:
        """Run it to its end. `during` may act in between; `more` are further arguments."""
        began = time.perf_counter()
        with self._started(more) as process, _Memory([process.pid], self.others) as memory:
            if during:
                during(process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_MOST_SECONDS)
            seconds, succeeded = time.perf_counter() - began, process.poll() == 0
        return Run(seconds=seconds, megabytes=memory.most, succeeded=succeeded)

    def kill(self, when: Callable[[], bool]) -> bool:
        """Kill it as soon as `when` is true. Returns False if it has ended before."""
        with self._started(()) as process:
            wait(process, when)
            self._family.update(_below(process.pid))
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL

    def log(self) -> str:
        return (self.folder / "program.log").read_text()

    def done(self) -> int:
        """Pictures that its own processes have classified in the present run."""
        return sum(file.stat().st_size for file in self._progress.iterdir())

    def kill_one(self, process: subprocess.Popen[bytes], when: Callable[[], bool]) -> None:
        """Kill one of its processes that classify as soon as `when` is true."""
        wait(process, when)
        pids = sorted(int(file.name) for file in self._progress.iterdir())
        if pids and process.poll() is None:
            os.kill(pids[0], signal.SIGKILL)

    @property
    def _progress(self) -> Path:
        return self.folder / "progress"

    @contextmanager
    def _started(self, more: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """The running program. At the end, all processes that it has started are killed."""
        self._progress.mkdir(exist_ok=True)
        for file in self._progress.iterdir():
            file.unlink()
        own = _SILENT | {PROGRESS: str(self._progress)}
        with (self.folder / "program.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.command, *more], env=os.environ | own, cwd=ROOT, stdout=log, stderr=log
            )
        with _noted(process, self._family):
            try:
                yield process
            finally:
                process.kill()
                process.wait()
        for member in self._family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(self._family, timeout=10)
        self.classified += self.done()


def rows(table: Path) -> dict[str, str]:
    """The label by file name of each row that can be read of a table or a folder of tables."""
    files = [table] if table.is_file() else sorted(table.rglob("*.parquet"))
    labels = {}
    for file in files:
        with suppress(ArrowInvalid):  # Half of a file.
            columns = parquet.read_table(file, columns=["path", "label"]).to_pydict()
            names = (path.rpartition("/")[2] for path in columns["path"])
            labels |= dict(zip(names, columns["label"], strict=True))
    return labels


def wait(process: subprocess.Popen[bytes], when: Callable[[], bool]) -> None:
    """Return when `when` is true, or the process has ended."""
    give_up = time.monotonic() + _MOST_SECONDS
    while process.poll() is None and not when():
        if time.monotonic() > give_up:
            return
        time.sleep(0.02)


@contextmanager
def _noted(process: subprocess.Popen[bytes], family: set[psutil.Process]) -> Iterator[None]:
    """Add the processes below `process` to `family`, again and again while the block runs."""
    ended = threading.Event()

    def note() -> None:
        while not ended.wait(_BETWEEN_SAMPLES_SECONDS):
            family.update(_below(process.pid))

    thread = threading.Thread(target=note)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _below(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
        return children
    return []


class _Memory:
    """The highest memory of processes and all below them. Shared pages count once."""

    def __init__(self, pids: Sequence[int], others: Sequence[psutil.Process]) -> None:
        self.most = 0.0
        self._pids = [*pids, *(other.pid for other in others)]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_BETWEEN_SAMPLES_SECONDS):
            family = {each.pid for pid in self._pids for each in _below(pid)} | {*self._pids}
            self.most = max(self.most, sum(map(_megabytes, family)))


def _megabytes(pid: int) -> float:
    with suppress(psutil.Error):
        return float(psutil.Process(pid).memory_full_info().pss) / 2**20
    return 0.0

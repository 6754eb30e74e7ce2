"""What a scrape answers where several processes count together.

prometheus-client gives each process files of its own and adds them up. It never gives up those of
a dead process, or counters would go backwards, so files pile up with every restart. Here the dead
are added to one file that stands for them all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector


class SharedSeries(Collector):
    """The sum of what all processes of this program have counted, the dead included."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        with _alone(self._folder):
            found = MultiProcessCollector(None, str(self._folder))  # type: ignore[no-untyped-call]
            yield from list(found.collect())  # type: ignore[no-untyped-call]


def start_over(folder: Path) -> None:
    """Forget what processes of an earlier run have counted; ours stays, it is open already."""
    for path in folder.glob("*.db"):
        if _owner(path) != str(os.getpid()):
            path.unlink(missing_ok=True)


def forget_dead(folder: Path) -> None:
    """Add what dead processes have counted to one file, and remove theirs."""
    with _alone(folder):
        for path in folder.glob("*.db"):
            owner = _owner(path)
            if owner.isdecimal() and not Path("/proc", owner).exists():
                if not path.name.startswith("gauge"):  # a gauge says how it is, not how it was
                    _bury(path)
                path.unlink()


def _owner(path: Path) -> str:
    """Process id in `counter_4711.db`; `dead` of the file that stands for all of them."""
    return path.stem.rpartition("_")[2]


def _bury(path: Path) -> None:
    """Add a file's values to the dead; killed between this and the unlink, they count twice."""
    kind, _, _ = path.stem.partition("_")
    everyone = path.with_name(f"{kind}_dead.db")
    aside = path.with_name(f"{kind}_dead.new")
    aside.unlink(missing_ok=True)
    if everyone.exists():
        shutil.copyfile(everyone, aside)
    dead = MmapedDict(str(aside))  # type: ignore[no-untyped-call]
    for key, value, *_ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore
        before, _ = dead.read_value(key)  # type: ignore[no-untyped-call]
        dead.write_value(key, before + value, 0.0)  # type: ignore[no-untyped-call]
    dead.close()  # type: ignore[no-untyped-call]
    aside.replace(everyone)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody reads while somebody moves: between replace and unlink a value would count twice."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Not left to closing: a pool process that was forked meanwhile has a copy of it.
            fcntl.flock(lock, fcntl.LOCK_UN)

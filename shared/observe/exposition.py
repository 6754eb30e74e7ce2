"""What a scrape answers when several processes count together.

prometheus-client gives each process its own files and adds them up. It keeps the files of processes
that have died, because counters may not go back. They do not pile up here: a process that takes the
place of another goes on counting in the same files (shared.observe.metrics).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)


class SharedSeries(Collector):
    """The sum of what all processes of this program have counted since it started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        # A process makes its file empty and sizes it afterwards. It may have been killed between.
        files = [path for path in self._folder.glob("*.db") if path.stat().st_size]
        try:
            yield from _sum(files)
        except Exception:  # a scrape shows what can be read, rather than nothing
            yield from _sum([path for path in files if _is_readable(path)])


def start_over(folder: Path) -> None:
    """Remove what processes of an earlier run have counted. Files of this process are in use."""
    for path in folder.glob("*.db"):
        if path.stem.rpartition("_")[2] != str(os.getpid()):
            path.unlink(missing_ok=True)


def _sum(files: Sequence[Path]) -> Iterable[Metric]:
    paths = [str(path) for path in files]
    return list(MultiProcessCollector.merge(paths))  # type: ignore[no-untyped-call]


def _is_readable(path: Path) -> bool:
    try:
        _sum([path])
    except Exception as error:
        logger.warning("metrics in %s cannot be read, and are left out: %s", path, error)
        return False
    return True

"""The programs that are compared: our command beside a running service, and the peers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import psutil

from client import ImageClassifier
from loadtest.peers.environments import python
from loadtest.peers.folder.run import Program, rows, wait
from shared.jobs import Lane
from tests.support.local_service import LocalService, local_service

OURS = "upload"
PROCESSES = 2


class Candidate(Protocol):
    warm_up: int  #: Pictures that are classified before it is measured.
    resume: Sequence[str]  #: Arguments for the run after one that was killed.

    @property
    def folder(self) -> Path: ...

    def program(self, files: Path, table: Path) -> Program: ...

    def half(self, program: Program, images: int) -> Callable[[], bool]:
        """Whether half of the pictures are classified from now on."""

    def classified(self, program: Program) -> int:
        """How many pictures were classified, in all runs of the program."""

    def kill_one(
        self, program: Program, process: subprocess.Popen[bytes], when: Callable[[], bool]
    ) -> None:
        """Kill one of the processes that classify as soon as `when` is true."""

    def rows_left(self, table: Path) -> int:
        """Rows that can be read after the program was killed."""


@contextmanager
def candidate(name: str, folder: Path, engine: str) -> Iterator[Candidate]:
    if name != OURS:
        yield Peer(name, folder, engine)
        return
    own = {"WORKER_PROCESSES": str(PROCESSES), "WEB_PROCESSES": "1", "ENGINE": engine}
    with local_service(folder, os.environ | own, redis_socket=True) as service:
        service.start_web()
        service.start_worker(Lane.BULK)
        service.await_ready()
        yield Upload(service)


@dataclass
class Upload:
    """`image-classifier upload`. The service runs already, and has classified a few pictures."""

    service: LocalService
    warm_up: int = 64
    resume: Sequence[str] = ("--resume",)

    @property
    def folder(self) -> Path:
        return self.service.logs

    def program(self, files: Path, table: Path) -> Program:
        command = [sys.executable, "-m", "client", "upload", str(files)]
        command += ["--url", self.service.base_url, "--output", str(table), "--json"]
        ids = [self.service.redis_process(), *(p.pid for p in self.service.processes.values())]
        return Program(command, self.folder, [psutil.Process(pid) for pid in ids])

    def half(self, program: Program, images: int) -> Callable[[], bool]:
        enough = self.classified(program) + images / 2
        return lambda: self.classified(program) >= enough

    def classified(self, program: Program) -> int:
        """Those of all programs, because the service classifies them."""
        jobs = self._client.jobs()
        return sum(job.counts.succeeded + job.counts.failed for job in jobs)

    @cached_property
    def _client(self) -> ImageClassifier:
        return ImageClassifier(self.service.base_url)

    def kill_one(
        self, program: Program, process: subprocess.Popen[bytes], when: Callable[[], bool]
    ) -> None:
        wait(process, when)
        self.service.kill_pool_process(Lane.BULK)

    def rows_left(self, table: Path) -> int:
        grown = table.with_name(f"{table.name}.rows")
        return len(grown.read_text().splitlines()) if grown.exists() else len(rows(table))


@dataclass
class Peer:
    name: str
    folder: Path
    engine: str
    warm_up: int = 0
    resume: Sequence[str] = ()  # It begins anew.

    def program(self, files: Path, table: Path) -> Program:
        module = f"loadtest.peers.folder.{self.name}"
        command = [str(python(self.name)), "-m", module, str(files), str(table), self.engine]
        return Program(command, self.folder)

    def half(self, program: Program, images: int) -> Callable[[], bool]:
        return lambda: program.done() >= images / 2

    def classified(self, program: Program) -> int:
        return program.classified

    def kill_one(
        self, program: Program, process: subprocess.Popen[bytes], when: Callable[[], bool]
    ) -> None:
        program.kill_one(process, when)

    def rows_left(self, table: Path) -> int:
        return len(rows(table))

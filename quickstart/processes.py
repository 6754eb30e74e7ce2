"""The programs of the Procfile, run by honcho until one ends or the person stops them."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import sys
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from honcho.environ import parse_procfile
from honcho.manager import SIGNALS, Manager
from honcho.printer import Printer
from honcho.process import Popen, Process

from quickstart.tether import tether

PROCFILE = Path(__file__).with_name("Procfile")


def run_processes(environment: Mapping[str, str], *, without: Collection[str] = ()) -> str | None:
    """Run the Procfile with `environment` added to ours, until all have stopped.

    Programs that are named in `without` are not started.

    Returns None when a signal asked for the stop, else which program ended by itself.
    """
    # honcho forks: its runners need what is open and blocked here. Python 3.14 does so no more
    # unless told, and would wait without end.
    multiprocessing.set_start_method("fork", force=True)
    manager = _Manager(_Terminal(sys.stdout))
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    programs = shlex.quote(str(Path(sys.executable).parent))
    for name, command in parse_procfile(PROCFILE.read_text()).processes.items():
        if name not in without:
            manager.add_process(name, f'export {settings} PATH={programs}:"$PATH"; {command}')
    _stop_on_hangup()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        manager.loop()
    finally:
        # Had honcho failed, the interpreter would wait for these without end.
        for runner in multiprocessing.active_children():
            runner.kill()
        manager.kill_strays()
    return manager.ended_by_itself()


def _stop_on_hangup() -> None:
    """A closed terminal is a wish to stop; one started under nohup has said otherwise."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        launcher = os.getpid()
        signal.signal(signal.SIGHUP, lambda *_: os.kill(launcher, signal.SIGTERM))


class _Manager(Manager):  # type: ignore[misc]
    def __init__(self, printer: Printer) -> None:
        super().__init__(printer)
        self._process_ctor = _Tethered
        self._procmgr = _Leaders()

    def _system_print(self, data: str) -> None:
        super()._system_print(data)
        # honcho cannot be asked to stop before each program has told its process id.
        if self._all_started():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def kill_strays(self) -> None:
        """End what a program had started and left behind, such as an export under way."""
        for program in self._processes.values():
            if "pid" in program:
                self._procmgr.kill(program["pid"])

    def ended_by_itself(self) -> str | None:
        if self.returncode in {asked["rc"] for asked in SIGNALS.values()}:
            return None
        ended = (n for n, p in self._processes.items() if p["returncode"] == self.returncode)
        return f"{next(ended)} (exit status {self.returncode})"


class _Terminal(Printer):  # type: ignore[misc]
    def write(self, message: Any) -> None:
        try:
            super().write(message)
        except OSError:
            # Nobody reads any more: the terminal was closed, or `| head` had enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.output.fileno())
            os.kill(os.getpid(), signal.SIGTERM)


class _Tethered(Process):  # type: ignore[misc]
    """A program that is gone when the launcher is, even where that is killed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._launcher = os.getpid()

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        # Before honcho does it: this runner must live to tell that its program has stopped.
        _on_stop(signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        tether(self._launcher, signal.SIGKILL)
        self._child_ctor = partial(Popen, preexec_fn=partial(_begin, os.getpid()))
        super().run(events, ignore_signals)


def _begin(runner: int) -> None:
    _on_stop(signal.SIG_DFL)
    # Not a request to stop: Redis goes at the same moment, and what a worker held is done again.
    tether(runner, signal.SIGKILL)


def _on_stop(action: signal.Handlers) -> None:
    for signum in SIGNALS:
        signal.signal(signum, action)


class _Leaders:
    """Asks a program to stop, not each process of it.

    honcho would signal the whole group: pool processes would die under the micro-batch that the
    worker is waiting for.
    """

    def terminate(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass

    def kill(self, pid: int) -> None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

"""Runs programs side by side until one ends or a signal stops them all.

Each line of a program is shown with the program's name in front. No program is started again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic

from quickstart.programs import Program
from quickstart.screen import LAUNCHER, Screen
from quickstart.tether import tether

#: Time that the programs have for their last answers and batches, before SIGKILL.
GRACE_SECONDS = 10.0
#: A closing terminal and some launchers send a signal twice. That is still one request.
_SAME_REQUEST_SECONDS = 1.0
#: A program's last lines are in its pipe when it ends. Its children may hold the pipe open.
_LAST_LINES_SECONDS = 1.0


def run(
    programs: Sequence[Program],
    environment: Mapping[str, str],
    *,
    redis: subprocess.Popen[bytes] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> str | None:
    """Run `programs` with `environment` beside ours until all of them have ended.

    The end of one program, of `redis`, or SIGINT, SIGTERM or SIGHUP stops every program: SIGTERM
    first, SIGKILL after `grace_seconds` or at the second signal. `redis` itself is only watched.

    Returns None when a signal asked for the stop, else a sentence about the end that nobody
    ordered, such as "web was killed by SIGKILL".
    """
    group = _Group(Screen(sys.stdout, [each.name for each in programs]), redis)
    with group.stopped_by_signals():
        try:
            for program in programs:
                group.start(program, environment)
            group.watch()
            return group.wait(grace_seconds)
        finally:
            group.kill()


class _Group:
    def __init__(self, screen: Screen, redis: subprocess.Popen[bytes] | None) -> None:
        self._screen = screen
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._watched = {"redis": redis} if redis else {}
        self._ended: dict[str, subprocess.Popen[bytes]] = {}
        #: A program's name when it has ended; None when a stop is asked for.
        self._events: SimpleQueue[str | None] = SimpleQueue()

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        # A closed terminal asks for a stop, except under `nohup`.
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        asking = [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]
        before = {each: signal.signal(each, lambda *_: self._events.put(None)) for each in asking}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def start(self, program: Program, environment: Mapping[str, str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", *program.command],
            env={**os.environ, **environment, **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal reaches the launcher alone, which then asks each program.
            start_new_session=True,
            # SIGKILL: with the launcher Redis ends too, so no program can finish its work.
            preexec_fn=partial(tether, os.getpid(), signal.SIGKILL),
        )
        self._running[program.name] = process
        self._say(f"{program.name} started, process {process.pid}")

    def watch(self) -> None:
        """Start the threads that read lines and wait for ends.

        Only now, because a process that has threads cannot safely run Python in a new child.
        """
        for name, process in (self._running | self._watched).items():
            threading.Thread(target=self._follow, args=(name, process), daemon=True).start()

    def _follow(self, name: str, process: subprocess.Popen[bytes]) -> None:
        reading = threading.Thread(target=self._show, args=(name, process), daemon=True)
        reading.start()
        process.wait()
        reading.join(_LAST_LINES_SECONDS)
        self._events.put(name)

    def _show(self, name: str, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            try:
                self._screen.show(name, line.decode(errors="replace"))
            except OSError:  # The terminal was closed, or `| head` has read enough.
                self._screen.go_dark()
                self._events.put(None)

    def wait(self, grace_seconds: float) -> str | None:
        """Return when every program has ended; the value is that of `run`."""
        first = self._events.get()
        reason = None
        if first is None:
            self._say("stopping; Ctrl-C again ends everything at once")
        else:
            process = (self._running | self._watched)[first]
            reason = f"{first} {_how_it_ended(process.returncode)}"
            self._say(f"{reason}; stopping everything")
            self._forget(first)
        self._terminate()
        self._wait_for_rest(grace_seconds)
        return reason

    def _terminate(self) -> None:
        """Ask each program to end, but not its children.

        A worker waits for the micro-batch that a pool process of it runs.
        """
        for process in self._running.values():
            process.terminate()

    def _wait_for_rest(self, seconds: float) -> None:
        started = monotonic()
        while self._running:
            try:
                ended = self._events.get(timeout=max(0.0, started + seconds - monotonic()))
            except Empty:
                break
            if ended is not None:
                self._forget(ended)
            elif monotonic() - started > _SAME_REQUEST_SECONDS:
                break
        if self._running:
            self._say(f"killing {', '.join(self._running)}")

    def _forget(self, name: str) -> None:
        if process := self._running.pop(name, None):
            self._ended[name] = process

    def kill(self) -> None:
        """End every program and what it has started, such as an export that is under way."""
        for process in (self._running | self._ended).values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._running.values():
            process.wait()

    def _say(self, words: str) -> None:
        with suppress(OSError):
            self._screen.show(LAUNCHER, words)


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"

"""Runs programs side by side until one ends or a signal stops them all.

A screen gets each line of each program. No program is started again.
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

#: Time that the programs have for their last batches, before SIGKILL.
GRACE_SECONDS = 10.0
#: A closing terminal and some launchers send a signal twice. That is still one request.
_SAME_REQUEST_SECONDS = 1.0
#: A program's last lines are in its pipe when it ends. Its children may hold the pipe open.
_LAST_LINES_SECONDS = 1.0


def run(
    programs: Sequence[Program],
    environment: Mapping[str, str],
    *,
    screen: Screen,
    redis: subprocess.Popen[bytes] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> str | None:
    """Run `programs` with `environment` beside ours until all of them have ended.

    SIGINT, SIGTERM or SIGHUP stops first the programs with clients, each of which has its
    `answer_seconds`. The others work for them until then. Then every program gets SIGTERM, and
    SIGKILL after `grace_seconds`. A second signal ends all of them at once.

    The end of one program or of `redis` stops every program at the same time. `redis` itself is
    only watched.

    Returns None when a signal asked for the stop, else a sentence about the unexpected end, such as
    "web was killed by SIGKILL".
    """
    group = _Group(screen, redis)
    with group.stopped_by_signals():
        try:
            for program in programs:
                group.start(program, environment)
            group.watch()
            return group.wait({p.name: p.answer_seconds for p in programs}, grace_seconds)
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
        self._stopping_since = 0.0  #: By the monotonic clock; 0 before a stop.

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
        with suppress(OSError):
            self._screen.note(LAUNCHER, f"{program.name} started, process {process.pid}")

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
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                try:
                    self._screen.show(name, line.decode(errors="replace"))
                except OSError:  # The terminal was closed, or `| head` has read enough.
                    self._screen.go_dark()
                    if not self._stopping_since:  # A lost terminal is no second request.
                        self._events.put(None)

    def wait(self, answer_seconds: Mapping[str, float], grace_seconds: float) -> str | None:
        """Return when every program has ended; the value is that of `run`."""
        first = self._events.get()
        self._stopping_since = monotonic()
        reason = None
        goes_on = True
        if first is None:
            self._screen.say(
                "Stopping after the last answers. Ctrl-C again ends everything at once."
            )
            with_clients = {name for name, seconds in answer_seconds.items() if seconds}
            goes_on = self._stop(with_clients, max(answer_seconds.values()))
        else:
            process = (self._running | self._watched)[first]
            reason = f"{first} {_how_it_ended(process.returncode)}"
            with suppress(OSError):
                self._screen.explain(first)
            self._screen.say(f"{reason}; stopping everything")
            self._forget(first)
            self._screen.leave_to_log(self._running)
        if goes_on:
            self._stop(set(self._running), grace_seconds)
        if self._running:
            self._screen.say(f"killing {', '.join(self._running)}")
        return reason

    def _stop(self, names: set[str], seconds: float) -> bool:
        """Ask these programs to end, but not their children, and wait for `seconds` at most.

        A worker waits for the micro-batch that a pool process of it runs. Returns False at a second
        request, which means that nothing shall be waited for.
        """
        for name in names & self._running.keys():
            self._running[name].terminate()
        give_up = monotonic() + seconds
        while names & self._running.keys():
            try:
                ended = self._events.get(timeout=max(0.0, give_up - monotonic()))
            except Empty:
                break
            if ended is not None:
                self._forget(ended)
            elif monotonic() - self._stopping_since > _SAME_REQUEST_SECONDS:
                return False
        return True

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


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"

"""The quick start in a real terminal, and the processes that belong to it."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _on_a_terminal() -> None:
    """Let Ctrl-C in the terminal reach the quick start."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A real terminal with `python -m quickstart` in its foreground."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.url = f"http://127.0.0.1:{environment['WEB_PORT']}"
        self._output = b""
        self._keyboard, screen = pty.openpty()
        self.launcher = subprocess.Popen(
            [sys.executable, "-m", "quickstart"],
            env=environment,
            cwd=ROOT,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            preexec_fn=_on_a_terminal,
        )
        os.close(screen)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # A terminal whose programs have all ended raises an error instead of giving no bytes.
        try:
            while some := os.read(self._keyboard, 65536):
                self._output += some
        except OSError:
            pass

    @property
    def text(self) -> str:
        return self._output.decode(errors="replace")

    def wait_for(self, words: str, seconds: float = 120) -> None:
        give_up = time.monotonic() + seconds
        while words not in self.text:
            assert self.launcher.poll() is None, self.text
            assert time.monotonic() < give_up, self.text
            time.sleep(0.05)

    def press_ctrl_c(self) -> None:
        os.write(self._keyboard, b"\x03")

    def await_end(self, seconds: float = 60) -> int:
        return self.launcher.wait(timeout=seconds)

    def close(self) -> None:
        if self.launcher.poll() is None:
            self.launcher.kill()
            self.launcher.wait()
        await_no_process(self.environment)
        self._reader.join()
        os.close(self._keyboard)


@contextmanager
def running(environment: dict[str, str]) -> Iterator[Terminal]:
    """A quick start that is ready. Ctrl-C ends it after the block."""
    opened = Terminal(environment)
    try:
        opened.wait_for("Ctrl-C stops everything.")
        yield opened
        opened.press_ctrl_c()
        assert opened.await_end() == 0
    finally:
        opened.close()


def processes(environment: dict[str, str]) -> dict[int, str]:
    """The id and the command line of every process of the quick start with this data folder."""
    mark = f"DATA_DIR={environment['DATA_DIR']}\0"
    # Redis overwrites its environment with its title, which contains its address.
    redis = f"redis-server unixsocket:{environment['DATA_DIR']}"
    ours = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            if mark in (folder / "environ").read_text(errors="replace") or redis in command:
                ours[int(folder.name)] = command.replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return ours


def await_no_process(environment: dict[str, str], seconds: float = 10) -> None:
    give_up = time.monotonic() + seconds
    while left := processes(environment):
        assert time.monotonic() < give_up, left
        time.sleep(0.05)

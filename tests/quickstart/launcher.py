"""A launcher that runs small programs as a process group."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]

#: The beginning of each program. A handler of a signal may run inside `print`, and a second `print`
#: is then an error. `say` writes the line without the buffer.
IMPORTS = """
import os, signal, subprocess, sys, time
def say(text):
    os.write(1, text.encode() + b"\\n")
"""

#: Small programs, by name. Each says "up" when it is ready for the test.
PROGRAMS = {
    "idle": "print('up', flush=True); time.sleep(60)",
    "polite": """
        def stop(*_):
            time.sleep(0.2)
            say("finished")
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        say("up")
        time.sleep(60)
    """,
    "serving": """
        def stop(*_):
            say("no new clients")
            time.sleep(0.5)
            say("answered")
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        say("up")
        time.sleep(60)
    """,
    "stubborn": """
        signal.signal(signal.SIGTERM, lambda *_: say("not yet"))
        say("up")
        while True: time.sleep(60)
    """,
    "failing": "print('up', 'no model', flush=True); sys.exit(3)",
    "parent": """
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print("up", "child", child.pid, flush=True)
        child.wait()
    """,
    "long_line": "print('x' * 200_000); print('up', flush=True); time.sleep(60)",
    "not_text": """
        sys.stdout.buffer.write(b"caf\\xe9\\nup\\n")
        sys.stdout.flush()
        time.sleep(60)
    """,
    "asking": """
        print("up", repr(sys.stdin.read()), os.environ["SHARED"], flush=True)
        time.sleep(60)
    """,
}

LAUNCHER = """
import subprocess, sys
from quickstart import process_group
from quickstart.programs import Program
from quickstart.screen import Screen
grace, answer, redis, *names = sys.argv[1:]
process = subprocess.Popen(["sleep", "60"], start_new_session=True) if redis == "redis" else None
if process:
    print("redis", process.pid, flush=True)
reason = process_group.run(
    # The first one has clients.
    [Program(name, [name], answer_seconds=float(answer) * (name == names[0])) for name in names],
    {"SHARED": "yes"},
    screen=Screen(sys.stdout, names),
    redis=process,
    grace_seconds=float(grace),
)
print("reason:", reason, flush=True)
"""


class Launcher:
    """A process that runs some of PROGRAMS as a group."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        assert process.stdout
        self._output: IO[str] = process.stdout

    def wait_for(self, *words: str) -> str:
        """Read on until a line has all `words`, and return that line."""
        for line in self._output:
            self.lines.append(line.rstrip("\n"))
            if all(word in line for word in words):
                return self.lines[-1]
        raise AssertionError("\n".join(self.lines))

    def wait_until_up(self, *names: str) -> dict[str, int]:
        """Wait for the word "up" of each program. Returns the process ids by name."""
        missing = set(names)
        while missing:
            line = self.wait_for("| up")
            missing.discard(line.split()[0])
        started = [line.split() for line in self.lines if " started, process " in line]
        return {words[2]: int(words[-1]) for words in started}

    def end(self) -> str:
        """Wait for the end. Returns what the group gave as the reason."""
        line = self.wait_for("reason: ")
        assert self.process.wait(10) == 0
        return line.removeprefix("reason: ")

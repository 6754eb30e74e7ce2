"""Runs of the command `upload` in a process of its own, and their tables."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.cli.exits import Exit

ROOT = Path(__file__).parents[3]


@dataclass
class Uploads:
    url: str
    folder: Path
    table: Path
    #: What runs the command: a program that may change the client's constants first.
    program: str = "from client.cli.command import entry; entry()"

    def start(self, *options: object, **popen: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", self.program, "upload", self.folder, "--url", self.url]
        command += ["--output", self.table, *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([str(each) for each in command], cwd=ROOT, **(pipes | popen))

    def run(self, *options: object, expect: Exit = Exit.OK, **popen: Any) -> dict[str, Any]:
        """Returns the summary."""
        process = self.start("--json", *options, **popen)
        out, err = process.communicate(timeout=120)
        assert process.returncode == expect, (process.returncode, out, err)
        summary: dict[str, Any] = json.loads(out)
        return summary

    def rows(self) -> list[dict[str, str]]:
        with open(self.table, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def paths(self) -> list[str]:
        return [row["path"] for row in self.rows()]

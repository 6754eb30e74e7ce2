"""Reads the Dockerfiles, and copies the files that a stage would copy."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILES = ("Dockerfile.web", "Dockerfile.worker")


class Stage:
    """The instructions of one stage of a Dockerfile, without those of its base."""

    def __init__(self, text: str) -> None:
        joined = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ")
        lines = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
        self.instructions = [(name, rest) for name, rest in lines]

    def all(self, name: str) -> list[str]:
        return [rest for each, rest in self.instructions if each == name]

    def command(self) -> list[str]:
        command: list[str] = json.loads(self.all("CMD")[-1])
        return command

    def lay_out(self, folder: Path) -> None:
        """Copy from the project what the stage copies from its context."""
        for copy in self.all("COPY"):
            if not copy.startswith("--"):
                *sources, target = copy.split()
                for source in sources:
                    _copy(ROOT / source, folder / target.lstrip("/"))


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def stages(file: str) -> dict[str, Stage]:
    """The stages of a Dockerfile by name."""
    _, *parts = re.split(r"(?m)^FROM ", (ROOT / file).read_text())
    by_name = {}
    for part in parts:
        first, _, rest = part.partition("\n")
        by_name[first.partition(" AS ")[2] or "final"] = Stage(rest)
    return by_name

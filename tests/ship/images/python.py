"""A Python that can import only what an image has installed."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.ship.images.dockerfile import ROOT


def _installed(wanted: list[str]) -> set[str]:
    """The normal names of all distributions that these requirements install."""
    names: set[str] = set()
    todo = list(wanted)
    while todo:
        match = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", todo.pop())
        assert match
        name, extras = normal(match[1]), (match[2] or "").split(",")
        if name in names and not any(extras):
            continue
        names.add(name)
        for required in importlib.metadata.requires(name) or ():
            needed, _, marker = required.partition(";")
            if _holds(marker, extras):
                todo.append(needed)
    return names


def lines_of(path: Path) -> list[str]:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    included = [line[3:] for line in lines if line.startswith("-r ")]
    own = [line for line in lines if line and not line.startswith("-r ")]
    return own + [each for name in included for each in lines_of(path.with_name(name))]


def _holds(marker: str, extras: list[str]) -> bool:
    from packaging.markers import Marker

    return not marker or any(Marker(marker).evaluate({"extra": each}) for each in extras or [""])


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


_ONLY = """
import importlib.abc, sys
allowed = set({allowed!r})
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {known!r} - allowed:
            raise ModuleNotFoundError(f"the image has no {{name}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def run_with_only(requirements: str, code: str, folder: Path) -> str:
    """Run code in `folder` by a Python that has only the packages of a requirements file."""
    installed = _installed(lines_of(ROOT / "requirements" / f"{requirements}.txt"))
    by_module = importlib.metadata.packages_distributions()
    allowed = {m for m, names in by_module.items() if {normal(n) for n in names} & installed}
    preamble = _ONLY.format(allowed=allowed, known=set(by_module))
    run = subprocess.run(
        [sys.executable, "-I", "-c", f"{preamble}\nsys.path.insert(0, '.')\n{code}"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout

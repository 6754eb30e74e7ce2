"""The comparison with peers, as far as it can be tested without installing them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from loadtest.measure.measures import Level
from loadtest.peers import __main__ as runner
from loadtest.peers.peer import PEERS

_FOLDER = Path(runner.__file__).parent


def test_every_peer_has_a_program_and_pinned_requirements() -> None:
    for name in PEERS:
        assert (_FOLDER / f"{name}.py").exists()
        for line in (_FOLDER / "requirements" / f"{name}.txt").read_text().splitlines():
            assert line.startswith(("-r ", "#")) or "==" in line


#: Imports what peers share. The arguments are modules that their environments lack.
_IMPORTS = """
import sys
sys.modules |= dict.fromkeys(sys.argv[1:])
import loadtest.peers.classifier, workers.engine.onnx_engine
"""


def test_the_shared_requirements_are_enough_for_what_peers_import() -> None:
    lines = (_FOLDER / "requirements" / "classifier.txt").read_text().splitlines()
    installed = _with_requirements(line for line in lines if "==" in line)
    lacking = [
        module
        for module, packages in packages_distributions().items()
        if installed.isdisjoint(map(_name, packages)) and module.isidentifier()
    ]
    assert "flask" in lacking and "numpy" not in lacking
    program = [sys.executable, "-c", _IMPORTS, *lacking]
    ended = subprocess.run(program, cwd=_FOLDER.parents[1], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def _with_requirements(lines: Iterable[str]) -> set[str]:
    """The packages that these lines name, and those that they need."""
    installed = {_name(each) for names in packages_distributions().values() for each in names}
    names: set[str] = set()
    unseen = {_name(line) for line in lines}
    while unseen:
        names.add(name := unseen.pop())
        needed = {_name(each) for each in requires(name) or () if "extra ==" not in each}
        unseen |= (needed & installed) - names
    return names


def _name(requirement: str) -> str:
    """The name of a package, in the form in which names are compared."""
    match = re.match(r"[\w.-]+", requirement)
    assert match
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def test_the_table_shows_the_slowest_requests_and_the_errors_of_a_peer() -> None:
    level = Level(rate=100, p50=500, p95=900, p99=7000, errors=2, client_core=0.1)
    levels = dict.fromkeys((1, 8, 32, 128), level)
    row = runner.Row(title="a peer", limit=200, levels=levels, paced=level, wrong=3, megabytes=512)
    last = runner.table([row]).splitlines()[-1]
    assert last.startswith("| a peer | 200 | 0.50 | 0.50 | 0.50 | 0.50 | 500 / 7000 |")
    assert last.endswith("| 0.39 | 900, 1.8 times | 10 | 3 | 512 |")

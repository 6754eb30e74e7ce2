"""The comparison of programs that classify a folder, as far as it can be tested without them."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pyarrow
from pyarrow import parquet

from loadtest.peers.folder import __main__ as runner
from loadtest.peers.folder.labels import PROGRESS
from loadtest.peers.folder.run import Program, rows
from loadtest.peers.peer import FOLDER_PEERS

_FOLDER = Path(runner.__file__).parent

#: Classifies three pictures, starts a child, and waits.
_WAITS = f"""
import os, subprocess, sys, time
with open(os.path.join(os.environ["{PROGRESS}"], str(os.getpid())), "wb") as file:
    file.write(bytes(3))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
if len(sys.argv) == 1:
    time.sleep(60)
child.kill()
"""


def _program(folder: Path) -> Program:
    return Program([sys.executable, "-c", _WAITS], folder)


def test_every_peer_has_a_program_and_pinned_requirements() -> None:
    for name in FOLDER_PEERS:
        assert (_FOLDER / f"{name}.py").exists()
        lines = (_FOLDER.parent / "requirements" / f"{name}.txt").read_text().splitlines()
        assert all(line.startswith(("-r ", "#")) or "==" in line for line in lines)


def test_a_program_is_killed_in_the_middle_with_all_that_it_has_started(tmp_path: Path) -> None:
    program = _program(tmp_path)
    assert program.kill(lambda: bool(program.done() == 3 and program.log()))
    child = int(program.log())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_program_that_ends_by_itself_was_not_killed(tmp_path: Path) -> None:
    program = Program([sys.executable, "-c", ""], tmp_path)
    assert not program.kill(lambda: False)


def test_a_run_has_its_time_and_memory_and_notes_a_killed_process(tmp_path: Path) -> None:
    program = _program(tmp_path)
    run = program.run("end")
    assert run.succeeded and run.seconds > 0

    def has_child() -> bool:
        return bool(program.done() == 3 and program.log())

    run = program.run(during=lambda process: program.kill_one(process, has_child))
    assert not run.succeeded
    assert program.classified == 6


def test_only_whole_files_of_a_table_are_read(tmp_path: Path) -> None:
    whole = pyarrow.table({"path": ["a/1.jpg", "2.jpg"], "label": ["cat", "dog"]})
    parquet.write_table(whole, tmp_path / "one.parquet")
    data = (tmp_path / "one.parquet").read_bytes()
    (tmp_path / "two.parquet").write_bytes(data[: len(data) // 2])
    assert rows(tmp_path) == {"1.jpg": "cat", "2.jpg": "dog"}
    assert rows(tmp_path / "one.parquet") == rows(tmp_path)
    assert rows(tmp_path / "missing") == {}


def test_the_table_has_the_median_and_the_range_of_each_figure() -> None:
    figures = {column: [1.0, 3.0, 2.0] for column in runner._COLUMNS} | {"wrong": [0.0, 0.0, 0.0]}
    last = runner.table({"daft_table": figures}).splitlines()[-1]
    assert last.startswith("| Daft | 2 (1 to 3) | 2 (1 to 3) |")
    assert "| 0 |" in last

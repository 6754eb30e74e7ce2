"""`make run` in a folder with an odd name and in an odd environment. A script stands for Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYTHON = """#!/bin/sh
env > "$RECORD"
echo "ran: $*"
exit ${STATUS:-0}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with a virtual environment in which everything is installed."""
    folder = tmp_path / "a clone, 100 % 'new'"
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "Makefile", folder)
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("python", "pip"):
        (binaries / name).write_text(PYTHON)
        (binaries / name).chmod(0o755)
    for name in ("quickstart", "demo", "check", "dev"):
        (binaries.parent / f"{name}.stamp").touch()
    return folder


def make(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=clone,
        env={"PATH": os.environ["PATH"], "RECORD": str(clone / "record")} | environment,
        capture_output=True,
        text=True,
        timeout=30,
    )


def recorded(clone: Path) -> dict[str, str]:
    lines = (clone / "record").read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_run_starts_the_quick_start_and_prints_nothing_itself(clone: Path) -> None:
    ended = make(clone, "run")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ran: -m quickstart\n", "")


def test_variables_of_python_and_pip_do_not_reach_the_project(clone: Path) -> None:
    odd = {
        "PYTHONPATH": "/opt/ros/lib",
        "PYTHONHOME": "/usr",
        "PYTHONSTARTUP": "/nonexistent",
        "PYTHONWARNINGS": "error",
        "PIP_USER": "1",
        "PIP_TARGET": "/nonexistent",
        "PIP_PREFIX": "/nonexistent",
    }
    make(clone, "run", **odd, HTTPS_PROXY="http://proxy:3128")
    assert not recorded(clone).keys() & odd.keys()
    assert recorded(clone)["HTTPS_PROXY"] == "http://proxy:3128"  # pip needs it


def test_packages_are_unpacked_beside_the_environment_and_not_in_a_small_folder(
    clone: Path,
) -> None:
    (clone / ".venv" / "quickstart.stamp").unlink()
    ended = make(clone, ".venv/quickstart.stamp", "PYTHON=.venv/bin/python", TMPDIR="/nonexistent")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert recorded(clone)["TMPDIR"] == ".venv/tmp"
    assert not (clone / ".venv" / "tmp").exists()
    make(clone, "run", TMPDIR="/var/tmp")
    assert recorded(clone)["TMPDIR"] == "/var/tmp"


def test_a_failure_of_pip_ends_with_the_page_that_helps(clone: Path) -> None:
    (clone / ".venv" / "quickstart.stamp").unlink()
    ended = make(clone, "run", "PYTHON=python3", STATUS="1")
    assert ended.returncode == 2 and "-m quickstart" not in ended.stdout
    help_line, error = ended.stderr.splitlines()
    assert "could not be installed." in help_line and "docs/first-start.md" in help_line
    assert "Error 1" in error


def test_settings_may_stand_behind_make(clone: Path) -> None:
    make(clone, "run", "DATA_DIR=/my data", "LOG_LEVEL=INFO")
    assert recorded(clone)["DATA_DIR"] == "/my data"
    assert recorded(clone)["LOG_LEVEL"] == "INFO"


def test_the_environment_may_be_outside_a_folder_that_cannot_be_written(clone: Path) -> None:
    elsewhere = clone.parent / "venv"
    (clone / ".venv").rename(elsewhere)
    ended = make(clone, "run", "VENV=../venv")
    assert (ended.returncode, ended.stdout) == (0, "ran: -m quickstart\n")
    assert not (clone / ".venv").exists()


def test_the_folder_of_the_demo_may_have_spaces(clone: Path) -> None:
    ended = make(clone, "demo", "FOLDER=my pictures")
    assert ended.stdout == "ran: -m quickstart.demo my pictures\n"


def test_pytorch_is_announced_before_it_is_downloaded(clone: Path) -> None:
    without = '#!/bin/sh\ncase "$*" in *" show "*) exit 1 ;; esac\necho "ran: $*"\n'
    (clone / ".venv" / "bin" / "python").write_text(without)
    ended = make(clone, ".venv/torch.stamp", "PYTHON=.venv/bin/python")
    notice, _, after = ended.stdout.partition(
        "ran: -m pip install --quiet --no-warn-conflicts -r requirements/torch.txt"
    )
    assert after and "This downloads PyTorch: 3 GB" in notice, ended.stdout


@pytest.mark.parametrize("name", ["quickstart", "demo", "check", "dev"])
def test_the_service_and_its_checks_install_no_pytorch(name: str) -> None:
    """`make test` installs it last, from a file of its own."""
    waiting, files = [f"{name}.txt"], set()
    while waiting:
        files.add(file := waiting.pop())
        lines = (ROOT / "requirements" / file).read_text().splitlines()
        waiting += {line.split()[1] for line in lines if line.startswith("-r ")} - files
        assert not [line for line in lines if line.startswith("torch")], file
    assert "torch.txt" not in files and len(files) > 1

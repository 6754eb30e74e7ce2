"""The Dockerfiles are pinned and agree with the settings and the quick start."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quickstart.programs import programs
from shared.settings import Settings
from tests.ship.images.dockerfile import FILES, ROOT, stages


@pytest.mark.parametrize("file", FILES)
def test_hadolint_finds_no_fault(file: str) -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program
    lint = subprocess.run([program, ROOT / file], capture_output=True, text=True, check=False)
    assert lint.returncode == 0 and not lint.stdout, lint.stdout


@pytest.mark.parametrize("file", FILES)
def test_each_base_is_pinned_and_no_program_runs_as_root(file: str) -> None:
    text = (ROOT / file).read_text()
    assert re.findall(r"(?m)^ARG PYTHON_IMAGE=(.*)", text) == ["python:3.11.16-slim-bookworm"]
    assert set(re.findall(r"(?m)^FROM (\S+)", text)) <= {
        *("${PYTHON_IMAGE}", "scratch"),
        *stages(file),
    }
    for name, stage in stages(file).items():
        if stage.all("USER"):
            assert stage.all("USER") == ["10001:10001"] and stage.instructions[-1][0] != "RUN", name
    # The user has a name, and a home that it can write to.
    named = r"groupadd --gid 10001 .*\n *useradd .*--uid 10001 --gid 10001 --home-dir /tmp "
    assert re.search(named, text)


def test_each_variable_is_a_setting() -> None:
    ours = {name.upper() for name in Settings.model_fields}
    programs = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "TORCH_HOME"}
    card = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}
    for file in FILES:
        for stage in stages(file).values():
            for line in stage.all("ENV"):
                names = set(re.findall(r"(\w+)=", line))
                assert names <= ours | programs | card, names


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("more", ["", "tracing"])
def test_more_requirements_are_installed_where_they_are_asked_for(file: str, more: str) -> None:
    stage = stages(file)["dependencies"]
    [install] = [each for each in stage.all("RUN") if "install" in each]
    [options] = re.findall(r"install (.*)", " ".join(install.split()))
    environment = {"MORE_REQUIREMENTS": more}
    echo = subprocess.run(
        ["sh", "-c", f"echo {options}"], env=environment, capture_output=True, text=True, check=True
    )
    wanted = set(re.findall(r"/requirements/(\S+)", echo.stdout))
    assert wanted == {f"{file.rpartition('.')[2]}.txt"} | ({f"{more}.txt"} if more else set())
    copied = stage.all("COPY")[0]
    for each in wanted:
        assert (ROOT / "requirements/locked" / each).is_file() and f"locked/{each}" in copied


def test_the_worker_is_the_one_of_the_quick_start() -> None:
    """Only the lane in its name is different."""
    shell, option, line = stages("Dockerfile.worker")["worker"].command()
    assert (shell, option) == ("sh", "-c")
    [started] = [each for each in programs(Settings()) if each.name == "interactive"]
    command = " ".join(started.command)
    _, _, run = line.partition("; ")
    assert run == "exec " + command.replace("interactive@%h", '"${LANE:-interactive}@%h"')


def test_only_the_programs_can_get_into_an_image() -> None:
    first, *others = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert first == "*"
    allowed = {line[1:].rstrip("/") for line in others if line.startswith("!")}
    assert allowed == {"loadtest", "requirements", "shared", "web", "workers"}

"""Short runs of the measurements. `make overload`, `make load` and `make bench` do long ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.long


def run(
    module: str, pictures: Sequence[Path], environment: dict[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, str(pictures[0].parent), *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.alone
def test_under_five_times_the_possible_load_every_accepted_picture_is_answered(
    pictures: list[Path], model_environment: dict[str, str]
) -> None:
    small = {"MAX_OUTSTANDING_INTERACTIVE": "50", "MAX_OUTSTANDING_BULK": "150"}
    ended = run(
        "loadtest.overload",
        pictures,
        model_environment | small,
        "--seconds",
        "5",
        "--no-bars",
        "--only",
        "pictures",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
    accepted, refused = (
        int(re.findall(rf"\| pictures {word} \| (\d+)", ended.stdout)[0])
        for word in ("accepted", "refused")
    )
    assert accepted > 100 and refused > 100
    assert "| pictures accepted and not answered right | 0 |" in ended.stdout
    assert not re.search(r"answers 5(?!03)", ended.stdout)


@pytest.mark.alone
def test_users_of_all_kinds_get_their_answers(
    pictures: list[Path], model_environment: dict[str, str], tmp_path: Path
) -> None:
    report = tmp_path / "people.html"
    options = ["--users", "12", "--spawn-rate", "12", "--run-time", "10s", "--html", str(report)]
    ended = run("loadtest.people", pictures, model_environment, *options, "--most-p95-ms", "10000")
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    assert "/api/v1/classify" in report.read_text()
    requests = ended.stdout + ended.stderr
    for name in (r"/jobs\?lane=bulk", "/api/v1/health", r"/api/v1/classify \(\w+\)"):
        assert re.search(name, requests), f"no user sent {name}"


def test_a_run_above_its_limit_fails(
    pictures: list[Path], model_environment: dict[str, str]
) -> None:
    options = ["--users", "6", "--spawn-rate", "6", "--run-time", "3s", "--most-p95-ms", "0.1"]
    ended = run("loadtest.people", pictures, model_environment, *options)
    assert ended.returncode == 1, ended.stdout + ended.stderr[-3000:]


def test_the_rate_of_each_stage_is_measured(
    pictures: list[Path], model_environment: dict[str, str], tmp_path: Path
) -> None:
    few = [Path(shutil.copy(each, tmp_path)) for each in pictures[:4]]  # each becomes a photo
    environment = model_environment | {"DATA_DIR": str(tmp_path / "data")}
    ended = run("loadtest.stages", few, environment, "--images", "64", "--rounds", "1")
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    rates = [float(rate) for rate in re.findall(r"^\| [^|]+ \| ([\d.]+) \|", ended.stdout, re.M)]
    assert len(rates) == 8, "four of each set of pictures"
    assert min(rates) > 0
    assert len(re.findall("^The limit: .*(?:model|decoding)", ended.stdout, re.M)) == 2


def test_the_least_that_a_picture_needs_is_the_sum_of_its_steps(
    pictures: list[Path], model_environment: dict[str, str], tmp_path: Path
) -> None:
    few = [Path(shutil.copy(each, tmp_path)) for each in pictures[:2]]  # each becomes a photo
    environment = model_environment | {"DATA_DIR": str(tmp_path / "data")}
    ended = run("loadtest.floor", few, environment, "--rounds", "1")
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    times = [float(ms) for ms in re.findall(r"^  [^:]+: ([\d.]+) \(", ended.stdout, re.M)]
    assert len(times) == 12, "six of each set of pictures"
    for *steps, everything in (times[:6], times[6:]):
        assert everything == pytest.approx(sum(steps), abs=0.04)

"""The script for a graphics card, as far as it can be tested without one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from loadtest import on_a_card

_ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed"),
]


def _run(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest.on_a_card", str(folder), *options],
        cwd=_ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=450,
    )


def test_a_machine_without_a_card_is_named_in_one_line(tmp_path: Path) -> None:
    ended = _run(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("torch finds no CUDA card on this machine, so nothing was measured.")


def test_a_dry_run_on_the_processor_compares_the_labels(
    pictures: list[Path], model_environment: dict[str, str], tmp_path: Path
) -> None:
    _copy(pictures[:6], tmp_path)
    ended = _run(tmp_path, "--device", "cpu", "--only", "labels", **model_environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    assert ended.stdout.startswith("Dry run without a card")
    row = r"^\| fp32, batches of (\d+) \| 6 \| 0 \| 0\.000\d\d \|$"
    assert re.findall(row, ended.stdout, re.MULTILINE) == ["1", "3", "32"]
    assert "images per second" not in ended.stdout


@pytest.mark.long
def test_a_dry_run_measures_each_stage_and_the_service(
    pictures: list[Path], model_environment: dict[str, str], tmp_path: Path
) -> None:
    _copy(pictures[:6], tmp_path)
    few = ["--device", "cpu", "--only", "rates", "--processes", "1", "--seconds", "2"]
    ended = _run(tmp_path, *few, **model_environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    row = r"^\| ([^|:]+?)(?:: [^|]+)? \| (\d+) \|$"
    rates = re.findall(row, ended.stdout, re.MULTILINE)
    assert [title for title, _ in rates] == [
        "model only, one process",
        "decoding and resizing only",
        "both, a bare loop",
        "both, drained from the queue",
        "bulk through HTTP, client included",
        "one picture per request, 1 clients",
        "one picture per request, 32 clients",
        "one picture per request, 128 clients",
    ]


def _copy(pictures: list[Path], folder: Path) -> None:
    for each in pictures:
        shutil.copy(each, folder / f"{each.stem}.jpg")


def test_another_clear_label_is_no_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    expected = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert on_a_card._compare("the same", expected, expected)
    assert not on_a_card._compare("another", expected, expected[::-1])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["| the same | 2 | 0 | 0.00000 |", "| another | 0 | 2 | 0.70000 |"]

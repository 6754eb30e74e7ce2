"""Runs the curl commands of the README against a service."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.local_service import LocalService

_README = Path(__file__).parents[2] / "README.md"


def test_every_curl_command_of_the_readme_works(
    service: LocalService, pictures: list[Path], tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copy(pictures[0], tmp_path / "picture.jpg")
    shutil.copy(pictures[1], tmp_path / "other.jpg")
    commands = [
        line.removeprefix("$ ")
        for line in _README.read_text().splitlines()
        if line.startswith("$ ") and "curl" in line
    ]
    address = service.base_url.removeprefix("http://")
    script = "\n".join(each.replace("localhost:8000", address) + "; echo" for each in commands)
    shell = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in shell.stdout.splitlines() if line.strip()]

    picture, job, page = answers
    assert len(picture["predictions"]) == 5
    assert job["state"] == "completed"
    assert [item["name"] for item in page["items"]] == ["picture.jpg", "other.jpg"]

"""Folders that were copied from a phone and from a camera get the labels of their pictures."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.pipeline.jobs import completed, results
from tests.support.copied_folder import COUNT, SKIPPED, Labels, enlarged, fill
from tests.support.local_service import LocalService
from tests.web.intake.archive_files import zipped

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def upright(pictures: list[Path]) -> Image.Image:
    return enlarged(pictures[9])


@pytest.fixture(scope="module")
def folder(upright: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copied")
    fill(folder, upright)
    return folder


@pytest.fixture(scope="module")
def expected(service: LocalService, upright: Image.Image) -> Labels:
    return Labels(service.base_url, upright)


def test_each_gets_its_label_by_the_api(http: httpx.Client, folder: Path, expected: Labels) -> None:
    paths = sorted(folder.glob("*/[!.]*"))
    paths = [each for each in paths if each.suffix not in (".MOV", ".txt", ".db")]
    files = [("files", (each.name, each.read_bytes())) for each in paths]
    job = http.post("/jobs", files=files).json()
    completed(http, job["id"])
    labels = {
        item["name"]: (
            item["predictions"][0]["class_name"] if item["predictions"] else item["error"]
        )
        for item in results(http, job["id"])
    }
    assert labels == {each.name: expected.of(each.name) for each in paths}


def test_each_gets_its_label_by_the_command(
    service: LocalService, folder: Path, expected: Labels, tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    command = [
        sys.executable,
        "-m",
        "client",
        "upload",
        str(folder),
        "--recursive",
        "--json",
    ]
    command += ["--output", str(table), "--url", service.base_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert (summary["succeeded"], summary["failed"]) == (COUNT, 0)
    assert summary["skipped"] == SKIPPED
    with table.open(newline="", encoding="utf-8") as file:
        labels = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert labels == {path: expected.of(path) for path in labels}


def test_each_gets_its_label_from_an_archive(
    http: httpx.Client, folder: Path, expected: Labels
) -> None:
    files = [
        (str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.glob("*/*"))
    ]
    job = http.post("/jobs", files={"files": ("copied.zip", zipped(files))}).json()
    assert job["skipped"] == SKIPPED
    completed(http, job["id"])
    labels = {
        item["name"]: (
            item["predictions"][0]["class_name"] if item["predictions"] else item["error"]
        )
        for item in results(http, job["id"])
    }
    assert len(labels) == COUNT
    assert labels == {name: expected.of(name) for name in labels}

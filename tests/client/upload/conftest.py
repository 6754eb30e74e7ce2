"""The command `upload` in this process, with a server that a test scripts."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.cli.command import main
from tests.client.scripted_jobs import ScriptedJobs
from tests.client.scripted_server import Answer, Cut, ScriptedServer, scripted_server


class Jobs(ScriptedJobs):
    """Pictures that start with `soon` fail until `mended`."""

    mended = False

    def put(self, job: Any, number: int, body: bytes) -> Answer | Cut:
        wrong = b"bad " if not self.mended else b"good"
        return super().put(job, number, body.replace(b"soon", wrong))


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def server(jobs: Jobs) -> Iterator[ScriptedServer]:
    with scripted_server(jobs) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / "pictures" / name).write_text(f"picture {name}")
    return tmp_path / "pictures"


class Upload:
    """Runs the command in this process."""

    def __init__(self, server: ScriptedServer, folder: Path, capsys: Any, table: str) -> None:
        self.table = folder.parent / table
        self._fixed = ["upload", str(folder), "--url", server.url, "--output", str(self.table)]
        self._capsys = capsys

    def __call__(self, *options: str) -> tuple[int, str, str]:
        status = main([*self._fixed, *options])
        printed = self._capsys.readouterr()
        return status, printed.out, printed.err

    def json(self, *options: str) -> tuple[int, dict[str, Any]]:
        status, out, _ = self("--json", *options)
        return status, json.loads(out)

    def rows(self) -> list[dict[str, str]]:
        with open(self.table, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture(params=["table.csv", "table.jsonl"])
def any_table(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def upload(server: ScriptedServer, folder: Path, capsys: Any) -> Upload:
    return Upload(server, folder, capsys, "table.csv")

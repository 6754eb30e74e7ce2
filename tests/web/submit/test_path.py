"""The files that a picture passes before Redis are those that docs/architecture.md lists."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from flask.testing import FlaskClient
from redis import Redis
from redis.client import Pipeline

from tests.support.bodies import JPEG
from tests.support.stored_jobs import announce_model

_ROOT = Path(__file__).parents[3]


@contextmanager
def files_that_run() -> Iterator[list[str]]:
    """Files of the web process whose code runs in this block, in order."""
    files: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith((f"{_ROOT}/web/", f"{_ROOT}/shared/")):
            name = str(Path(path).relative_to(_ROOT))
            if name not in files:
                files.append(name)

    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)


@pytest.fixture
def path_of_a_picture(
    client: FlaskClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    announce_model(redis)
    execute = Pipeline.execute

    def stop_at_the_job(self: Pipeline, *options: bool) -> object:
        if any(command[0][0] == "HSET" for command in self.command_stack):
            sys.setprofile(None)
        return execute(self, *options)

    with monkeypatch.context() as patch:
        client.post("/api/v1/classify?wait=0", data=JPEG).close()  # the load and the model are read
        patch.setattr(Pipeline, "execute", stop_at_the_job)
        with files_that_run() as files:
            answer = client.post("/api/v1/classify?wait=0", data=JPEG + b"another")
    assert answer.status_code == 202
    return files


def test_a_picture_passes_the_files_that_the_document_lists(path_of_a_picture: list[str]) -> None:
    text = (_ROOT / "docs/architecture.md").read_text()
    section = text.partition("## The path of one picture")[2].partition("\n## ")[0]
    table, _, rest = section.partition("| | Redis |")
    steps = re.findall(r"^\| \d+ \| `([^`]+)`", table, re.MULTILINE)
    passing, _, _ = rest.partition("A test follows a picture")
    others = re.findall(r"`(web/(?:http|server|routes|submit)/[a-z_/]+\.py)`", passing)
    assert len(steps) <= 12
    assert set(steps) <= set(path_of_a_picture)
    web = {path for path in path_of_a_picture if path.startswith("web/")}
    assert web <= {*steps, *others, "web/server/fairness/pacing.py"}

"""An upload reads the results of a job that has not ended."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from client.cli.exits import Exit
from client.upload import planner
from tests.client.scripted_server import Answer, ScriptedServer
from tests.client.upload.conftest import Jobs, Upload


def test_a_job_that_does_not_end_notes_its_last_rows_once(
    upload: Upload, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its pictures are done, and it is read several times."""
    jobs.ending.clear()
    shown: list[int] = []

    def interrupt(self: Any, *, done: int, **_: Any) -> None:
        shown.append(done)
        if shown.count(3) == 3 or len(shown) == 100:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("client.cli.progress.Lines.show", interrupt)
        assert upload()[0] == Exit.INTERRUPTED
    journal = upload.table.with_name(upload.table.name + ".journal").read_text()
    assert journal.count('"written"') == 1
    jobs.ending.set()
    status, summary = upload.json("--resume")
    assert (status, summary["pictures"], summary["added"]) == (Exit.OK, 3, 0)


def test_few_results_are_read_while_the_first_is_missing(
    upload: Upload,
    server: ScriptedServer,
    folder: Path,
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each poll reads those behind it again, in vain."""
    for k in range(100):
        (folder / f"x{k:02}.jpg").write_text(f"picture {k}")
    monkeypatch.setattr(planner, "_FIRST_FILES", 200)  # they are one job
    put = jobs.put
    monkeypatch.setattr(jobs, "put", lambda *part: put(*part) if part[1] else Answer(201, {}))

    all_arrived: list[bool] = []

    def limits() -> list[int]:
        paths = [each.path for each in server.requests if "/results" in each.path]
        return [int(re.findall(r"limit=(\d+)", path)[0]) for path in paths]

    def interrupt(self: Any, **_: Any) -> None:
        all_arrived.append(len(jobs.digests) == 71)
        if sum(all_arrived) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("client.cli.progress.Lines.show", interrupt)
    assert upload()[0] == Exit.INTERRUPTED
    assert max(limits()) == 32

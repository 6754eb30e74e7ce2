"""Faults in the middle of an upload. The service is a scripted server."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from client.cli.command import main
from client.cli.exits import Exit
from tests.client.scripted_jobs import ScriptedJobs
from tests.client.scripted_server import Answer, Cut, refusal, scripted_server

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for k in range(100):
        (tmp_path / "pictures" / f"{k:03}.jpg").write_bytes(b"picture %d" % k)
    return tmp_path / "pictures"


@contextmanager
def uploading(jobs: ScriptedJobs, folder: Path) -> Iterator[list[object]]:
    """Gives the command's arguments while the server runs."""
    with scripted_server(jobs) as server:
        table = folder.parent / "table.csv"
        yield ["upload", folder, "--url", server.url, "--output", table, "--json"]


def run(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = main([str(each) for each in arguments])
    return status, json.loads(capsys.readouterr().out)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder.parent / "table.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_file_that_is_removed_before_it_is_sent_becomes_a_row_with_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Jobs(ScriptedJobs):
        def open(self, body: dict[str, Any], key: str) -> Answer | Cut:
            (folder / "040.jpg").unlink()
            return super().open(body, key)

    with uploading(Jobs(), folder) as arguments:
        status, summary = run(arguments, capsys)
    assert status == Exit.SOME_FAILED
    assert summary["errors"] == {"unreadable_file": 1}
    assert summary["uploaded"] == 99
    assert rows(folder)[40]["error_message"] == "No such file or directory"
    assert len(rows(folder)) == 100


def test_a_file_that_changes_is_sent_as_it_is_then_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Jobs(ScriptedJobs):
        def open(self, body: dict[str, Any], key: str) -> Answer | Cut:
            (folder / "040.jpg").write_bytes(b"another picture")
            return super().open(body, key)

    with uploading(jobs := Jobs(), folder) as arguments:
        status, summary = run(arguments, capsys)
    assert (status, summary["changed"]) == (Exit.OK, 1)
    assert hashlib.sha256(b"another picture").hexdigest() in jobs.digests


def test_a_request_whose_answer_is_lost_is_sent_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Jobs(ScriptedJobs):
        cuts = 0

        def __call__(self, request: Any) -> Answer | Cut:
            answer = super().__call__(request)
            # Every third answer is lost after the request was carried out.
            self.cuts += 1
            return Cut() if self.cuts % 3 == 0 else answer

    with uploading(jobs := Jobs(), folder) as arguments:
        status, summary = run(arguments, capsys)
    assert (status, summary["succeeded"], len(rows(folder))) == (Exit.OK, 100, 100)
    assert len(jobs.jobs) == 1


@pytest.mark.parametrize(
    ("code", "report"),
    [
        ("overloaded", "Trying again in 1 s."),
        ("too_many_outstanding", "The upload goes on when more pictures are classified."),
    ],
)
def test_a_part_that_a_busy_service_refuses_is_sent_again(
    folder: Path, capsys: pytest.CaptureFixture[str], code: str, report: str
) -> None:
    class Jobs(ScriptedJobs):
        refusals = 5

        def put(self, job: Any, number: int, body: bytes) -> Answer | Cut:
            if self.refusals:
                self.refusals -= 1
                return refusal(503, code, Retry_After="0")
            return super().put(job, number, body)

    with uploading(jobs := Jobs(), folder) as (*arguments, _):
        assert main([str(each) for each in arguments]) == Exit.OK
    assert report in capsys.readouterr().err
    assert Counter(jobs.digests).most_common(1)[0][1] == 1


def test_a_run_ends_when_its_job_has_expired_and_the_next_run_opens_it_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Jobs(ScriptedJobs):
        forgets = True

        def put(self, job: Any, number: int, body: bytes) -> Answer | Cut:
            if self.forgets and number == 2:
                return refusal(404, "job_not_found")
            return super().put(job, number, body)

    with uploading(jobs := Jobs(), folder) as arguments:
        status, summary = run(arguments, capsys)
        assert (status, "job_not_found" in summary["error"]) == (Exit.SERVICE, True)
        jobs.forgets = False
        jobs.jobs.clear()
        assert run([*arguments, "--resume"], capsys)[0] == Exit.OK
    assert len(rows(folder)) == 100


def test_the_parts_of_a_killed_run_are_not_sent_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is killed when all parts but one have been stored."""

    class Jobs(ScriptedJobs):
        broken = True

        def put(self, job: Any, number: int, body: bytes) -> Answer | Cut:
            if self.broken and number == 1:
                process.kill()
                return Cut()
            return super().put(job, number, body)

    with uploading(jobs := Jobs(), folder) as arguments:
        command = [sys.executable, "-m", "client", *map(str, arguments), "--concurrency", "1"]
        process = subprocess.Popen(command, cwd=ROOT)
        assert process.wait(timeout=30) < 0
        stored = len(jobs.digests)
        assert 0 < stored < 100
        jobs.broken = False
        assert run([*arguments, "--resume"], capsys)[0] == Exit.OK
    assert len(jobs.digests) == len(set(jobs.digests)) == 100
    assert len(rows(folder)) == 100 and len(jobs.jobs) == 1


def test_an_upload_stops_when_too_many_pictures_failed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(20):
        (folder / f"bad{k:03}.jpg").write_bytes(b"bad %d" % k)
    with uploading(ScriptedJobs(), folder) as arguments:
        status, summary = run([*arguments, "--max-failures", 5], capsys)
        assert status == Exit.TOO_MANY_FAILURES
        assert "--max-failures is 5" in summary["error"]
        status, summary = run([*arguments, "--resume"], capsys)
    assert status == Exit.SOME_FAILED
    assert (summary["pictures"], summary["failed"]) == (120, 20)


def test_an_existing_table_is_replaced_only_when_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = folder.parent / "table.csv"
    table.write_text("mine\n")
    with uploading(ScriptedJobs(), folder) as arguments:
        for options in ([], ["--resume"]):
            assert main([*map(str, arguments), *options]) == Exit.USAGE
            assert str(table) in capsys.readouterr().err
        assert table.read_text() == "mine\n"
        run([*arguments, "--overwrite"], capsys)
    assert len(rows(folder)) == 100


def test_a_run_after_the_last_adds_new_files_only(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with uploading(jobs := ScriptedJobs(), folder) as arguments:
        run([*arguments, "--resume"], capsys)
        for name in ("new.jpg", "newer.jpg"):
            (folder / name).write_text(name)
        _, summary = run([*arguments, "--resume"], capsys)
        assert (summary["pictures"], summary["added"], summary["uploaded"]) == (102, 2, 2)
        arguments.remove("--json")
        main([*map(str, arguments), "--resume"])
    out = capsys.readouterr().out
    assert "102 pictures, 102 classified" in out and "this run: 0 pictures" in out
    assert "0 sent (0 KB)" in out
    assert [row["path"] for row in rows(folder)][-2:] == ["new.jpg", "newer.jpg"]
    assert len(jobs.digests) == 102

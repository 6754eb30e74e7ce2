"""Options of `upload`: a limit on failures, another try of failures, other models, raw paths."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from client.cli import connect, upload as command
from client.cli.command import main
from client.cli.exits import Exit
from client.upload import planner, retry, running
from tests.client.scripted_server import ScriptedServer
from tests.client.upload.conftest import Jobs, Upload


def states(table: Path) -> dict[str, str]:
    if table.suffix == ".csv":
        with open(table, newline="", encoding="utf-8") as file:
            return {row["path"]: row["state"] for row in csv.DictReader(file)}
    lines = map(json.loads, table.read_text().splitlines())
    return {row["path"]: row["state"] for row in lines}


def test_failed_pictures_are_classified_again_and_the_others_stay(
    server: ScriptedServer, folder: Path, jobs: Jobs, capsys: Any, any_table: str
) -> None:
    (folder / '=two\nlines ".jpg').write_text("soon 1")
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_text("soon 2")
    upload = Upload(server, folder, capsys, any_table)
    status, summary = upload.json()
    assert (status, summary["failed"], summary["succeeded"]) == (Exit.SOME_FAILED, 2, 3)
    before = set(jobs.digests)
    jobs.mended = True
    assert upload.json("--resume")[1]["added"] == 0
    status, summary = upload.json("--retry-failed")
    assert (status, summary["added"], summary["failed"]) == (Exit.OK, 2, 0)
    assert (summary["pictures"], summary["errors"]) == (5, {})
    assert set(states(upload.table).values()) == {"succeeded"} and len(states(upload.table)) == 5
    assert len(jobs.digests) == 7 and len(set(jobs.digests) - before) == 2
    assert upload.json("--retry-failed")[1]["added"] == 0
    assert not list(folder.parent.glob("*.retry"))


@pytest.mark.parametrize("step", ["journal", "replace"])
def test_a_retry_that_dies_between_its_steps_is_repeated_or_completed(
    upload: Upload, folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (folder / "d.jpg").write_text("soon")
    upload.json()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "journal":
            patch.setattr(retry.Journal, "retry", die)
        else:
            patch.setattr(retry.os, "replace", die)
        assert main([*upload._fixed, "--retry-failed"]) == Exit.INTERRUPTED
    jobs.mended = True
    if step == "replace":  # the file is planned again already
        assert upload.json("--resume")[1]["added"] == 1
    else:
        assert upload.json("--retry-failed")[1]["added"] == 1
    assert states(upload.table) == dict.fromkeys(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], "succeeded")


def test_a_table_that_another_program_changed_is_left_alone(upload: Upload, folder: Path) -> None:
    (folder / "d.jpg").write_text("soon")
    upload()
    lines = upload.table.read_text().splitlines(keepends=True)
    changed = "".join(lines[:-2]).encode().ljust(upload.table.stat().st_size, b" ")
    upload.table.write_bytes(changed)
    status, _, err = upload("--retry-failed")
    assert status == Exit.USAGE and "another program has changed it" in err
    assert upload.table.read_bytes() == changed


def test_a_retry_needs_a_table(upload: Upload) -> None:
    status, _, err = upload("--retry-failed")
    assert status == Exit.USAGE and "needs a table of an earlier run" in err


def test_a_table_of_another_model_is_continued_only_when_that_is_allowed(
    upload: Upload, folder: Path, jobs: Jobs
) -> None:
    upload()
    jobs.model = "newer"
    (folder / "d.jpg").write_text("picture d")
    status, _, err = upload("--resume")
    assert status == Exit.USAGE
    assert "the service has newer" in err and "--any-model" in err
    assert len(upload.rows()) == 3
    status, _, err = upload("--resume", "--any-model")
    assert status == Exit.OK and len(upload.rows()) == 4
    assert err.count("has changed its model to newer") == 1


def test_a_resume_waits_for_no_worker(
    upload: Upload, folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload()
    monkeypatch.setattr(connect, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(jobs, "model", None)
    (folder / "d.jpg").write_text("picture d")
    assert upload.json("--resume")[1]["added"] == 1


def test_an_upload_stops_while_its_job_runs(
    upload: Upload, folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job would never end."""
    for k in range(40):
        (folder / f"x{k:02}.jpg").write_text(f"soon {k}")
    jobs.ending.clear()
    status, summary = upload.json("--max-failures", "5")
    assert status == Exit.TOO_MANY_FAILURES
    names = [each["path"] for each in summary["first_failures"]]
    assert names == [f"x{k:02}.jpg" for k in range(5)]
    jobs.ending.set()
    assert upload.json("--resume")[1]["failed"] == 40


@pytest.fixture
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of two pictures, whose counts are read at once."""
    monkeypatch.setattr(planner, "_FIRST_FILES", 2)
    monkeypatch.setattr(planner, "_GROWTH", 1)
    monkeypatch.setattr(running, "_LATER_SECONDS", 0)


@pytest.mark.usefixtures("small_jobs")
def test_an_upload_stops_at_the_failures_of_a_later_job(
    upload: Upload, folder: Path, jobs: Jobs
) -> None:
    """The service works on all jobs at the same time, and the oldest never ends."""
    for k in range(2):
        (folder / f"x{k}.jpg").write_text(f"soon {k}")
    jobs.ending.clear()
    status, summary = upload.json("--max-failures", "2")
    assert status == Exit.TOO_MANY_FAILURES
    assert [each["path"] for each in summary["first_failures"]] == ["x0.jpg", "x1.jpg"]


def test_an_upload_that_stops_says_that_pictures_are_left(
    upload: Upload, folder: Path, jobs: Jobs
) -> None:
    (folder / "x.jpg").write_text("soon x")
    jobs.ending.clear()
    status, _, err = upload("--max-failures", "1")
    assert status == Exit.TOO_MANY_FAILURES
    assert "Some pictures are left. Continue with --resume." in err


@pytest.mark.usefixtures("small_jobs")
def test_the_progress_counts_the_pictures_of_all_jobs(
    upload: Upload, folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time left would be several times too long without the later jobs."""
    for k in range(8):
        (folder / f"x{k}.jpg").write_text(f"picture {k}")
    jobs.ending.clear()
    shown: list[int] = []

    def interrupt(self: Any, *, done: int, **_: Any) -> None:
        shown.append(done)
        if done == 11 or len(shown) == 100:
            raise KeyboardInterrupt

    monkeypatch.setattr("client.cli.progress.Lines.show", interrupt)
    assert upload()[0] == Exit.INTERRUPTED
    assert shown[-1] == 11


def test_an_upload_stops_at_the_failure_that_reaches_the_limit(
    upload: Upload, folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "_FIRST_FILES", 2)
    monkeypatch.setattr(planner, "_GROWTH", 1)
    monkeypatch.setattr(running.Running, "read_later_jobs", lambda running: None)
    (folder / "c.jpg").unlink()  # so that each job has pictures of one kind
    for k in range(8):
        (folder / f"x{k}.jpg").write_text(f"soon {k}")
    status, summary = upload.json("--max-failures", "2")
    assert (status, summary["failed"]) == (Exit.TOO_MANY_FAILURES, 2)
    # The failures of an earlier run do not count.
    status, summary = upload.json("--resume", "--max-failures", "3")
    assert (status, summary["failed"]) == (Exit.TOO_MANY_FAILURES, 6)
    assert upload.json("--resume")[1]["failed"] == 8


@pytest.mark.parametrize("table", ["table.csv", "table.parquet"])
def test_nothing_is_left_if_the_last_picture_reaches_the_limit(
    server: ScriptedServer, folder: Path, capsys: Any, table: str
) -> None:
    if table.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (folder / "d.jpg").write_text("bad d")
    upload = Upload(server, folder, capsys, table)
    status, out, err = upload("--max-failures", "1")
    assert status == Exit.TOO_MANY_FAILURES
    assert "1 picture failed, and --max-failures is 1. All pictures are done." in err
    assert "--resume" not in err and upload.table.exists()


@pytest.mark.usefixtures("small_jobs")
def test_an_interrupted_upload_counts_pictures_without_rows(
    upload: Upload, folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a later job wait for those of the oldest."""
    jobs.ending.clear()

    def interrupt(self: Any, *, done: int, **_: Any) -> None:
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("client.cli.progress.Lines.show", interrupt)
    status, out, err = upload()
    assert status == Exit.INTERRUPTED and "Continue with --resume" in err
    assert "at least 1 more picture is done; --resume adds its row" in out
    assert len(upload.rows()) == 2


def test_an_upload_of_no_pictures_says_so(upload: Upload, folder: Path) -> None:
    for each in folder.iterdir():
        each.unlink()
    status, _, err = upload()
    assert status == Exit.OK and f"{folder} has no pictures." in err
    (folder / "inside").mkdir()
    status, out, err = upload("--overwrite")
    assert "1 skipped: 1 folder inside" in out
    assert "--recursive reads the folders inside" in err
    assert "has no file that you chose" in upload("--overwrite", "--include", "*.bmp")[2]


def test_the_summary_names_the_first_failures_and_says_where_all_are(
    upload: Upload, folder: Path
) -> None:
    for k in range(7):
        (folder / f"x{k}.jpg").write_text(f"bad {k}")
    _, out, _ = upload()
    named = [line.strip() for line in out.splitlines() if "empty" in line and "x" in line]
    assert named == [f"x{k}.jpg: The file is empty." for k in range(5)]
    assert f"their rows in {upload.table} have the state failed; --retry-failed" in out
    _, summary = upload.json("--overwrite")
    first = {"path": "x0.jpg", "code": "empty_file", "message": "The file is empty."}
    assert summary["first_failures"][0] == first and len(summary["first_failures"]) == 5


def test_a_raw_path_has_no_protection_against_formulas(upload: Upload, folder: Path) -> None:
    (folder / "=1;-2.jpg").write_text("picture")
    upload("--raw-path")
    [row] = [row for row in upload.rows() if row["path"].startswith("'=")]
    assert row["raw_path"] == "=1;-2.jpg"
    status, _, err = upload("--resume")
    assert status == Exit.USAGE and "raw_path True, not False" in err
    assert upload("--resume", "--raw-path")[0] == Exit.OK


def test_a_table_of_an_earlier_release_is_resumed(upload: Upload, folder: Path) -> None:
    upload()
    journal = upload.table.with_name("table.csv.journal")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        line.pop("raw_path", None)
        line.pop("model", None)
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "d.jpg").write_text("picture d")
    assert upload.json("--resume")[1]["added"] == 1


class Recorder:
    """A progress that keeps the numbers of pictures of this run."""

    total: int | None = None

    def __init__(self) -> None:
        self.own: list[int] = []

    def show(self, *, done: int, failed: int, earlier: int = 0) -> None:
        self.own.append(done - earlier)

    def report(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


def test_pictures_of_an_earlier_run_do_not_count_in_the_rate(
    upload: Upload, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:  # the job has ended, and its rows are not written
        patch.setattr(command.Table, "commit", full)
        assert upload()[0] == Exit.DISK
    for k in range(2):
        (folder / f"x{k}.jpg").write_text(f"picture {k}")
    recorder = Recorder()
    monkeypatch.setattr(command, "progress_for", lambda *_, **__: recorder)
    assert upload("--resume")[0] == Exit.OK
    assert recorder.own[0] == 0 and recorder.own[-1] == 2

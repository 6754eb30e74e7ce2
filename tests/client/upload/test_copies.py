"""Equal files of an upload that change after they were hashed. They are one picture of a job."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.api.records import Item, ItemError
from client.cli.exits import Exit
from client.upload.plan import Plan, PlannedFile
from client.upload.result import result_of
from tests.client.scripted_jobs import pictures_of
from tests.client.scripted_server import Answer, Cut, refusal
from tests.client.upload.conftest import Jobs, Upload

GONE = "No such file or directory"
CHANGED = "The file changed while it was uploaded."


class Labels(Jobs):
    """The label of a picture is its text. Files change when the job is opened."""

    broken = False  #: Whether each part is refused.

    def __init__(self) -> None:
        super().__init__()
        self.change: Callable[[], object] = lambda: None

    def open(self, body: dict[str, Any], key: str) -> Answer | Cut:
        self.change()
        return super().open(body, key)

    def put(self, job: Any, number: int, body: bytes) -> Answer | Cut:
        if self.broken:
            return refusal(404, "job_not_found")
        answer = super().put(job, number, body)
        for position, data in enumerate(pictures_of(body)):
            item = job.items[32 * number + position]
            if item["state"] == "succeeded":
                item["predictions"] = [item["predictions"][0] | {"class_name": data.decode()}]
        return answer


@pytest.fixture
def jobs() -> Labels:
    return Labels()


@pytest.fixture
def first(folder: Path) -> Path:
    """Its copy has the next name."""
    for name in ("a.jpg", "a2.jpg"):
        (folder / name).write_text("copied")
    return folder / "a.jpg"


def rows(upload: Upload) -> dict[str, str]:
    """The label of each file, or why it has none."""
    found = upload.rows()
    for row in found:
        assert row["error_code"] in ("", "unreadable_file")
    return {row["path"]: row["label"] or row["error_message"] for row in found}


def test_a_copy_has_the_label_of_its_own_bytes_when_the_first_file_changes(
    upload: Upload, jobs: Labels, first: Path
) -> None:
    jobs.change = lambda: first.write_text("new")
    status, summary = upload.json()
    assert (status, summary["changed"]) == (Exit.OK, 1)
    assert rows(upload) == {
        "a.jpg": "copied",
        "a2.jpg": "copied",
        "b.jpg": "picture b.jpg",
        "c.jpg": "picture c.jpg",
    }


def test_a_copy_is_sent_when_the_first_file_is_removed(
    upload: Upload, jobs: Labels, first: Path
) -> None:
    jobs.change = first.unlink
    assert upload()[0] == Exit.OK
    assert rows(upload)["a.jpg"] == rows(upload)["a2.jpg"] == "copied"


def test_a_change_that_keeps_the_size_and_the_time_is_seen(
    upload: Upload, jobs: Labels, first: Path
) -> None:
    before = first.stat()

    def change() -> None:
        first.write_text("edited")
        os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))

    jobs.change = change
    assert upload()[0] == Exit.OK
    assert rows(upload)["a.jpg"] == rows(upload)["a2.jpg"] == "copied"


@pytest.mark.parametrize("new, reason", [(None, GONE), ("other", CHANGED)])
def test_files_that_are_no_longer_equal_have_rows_that_say_why(
    upload: Upload, jobs: Labels, first: Path, new: str | None, reason: str
) -> None:
    def change() -> None:
        first.write_text("new")
        (first.parent / "a2.jpg").unlink()
        if new:
            (first.parent / "a2.jpg").write_text(new)

    jobs.change = change
    assert upload()[0] == Exit.SOME_FAILED
    assert (rows(upload)["a.jpg"], rows(upload)["a2.jpg"]) == (CHANGED, reason)
    jobs.change = lambda: None
    upload("--retry-failed")
    assert (rows(upload)["a.jpg"], rows(upload).get("a2.jpg")) == ("new", new)


def test_equal_files_that_change_alike_are_sent_as_they_are_then(
    upload: Upload, jobs: Labels, first: Path
) -> None:
    """They may be links to one file."""
    (first.parent / "a2.jpg").unlink()
    (first.parent / "a2.jpg").symlink_to(first)
    jobs.change = lambda: first.write_text("new")
    assert upload()[0] == Exit.OK
    assert rows(upload)["a.jpg"] == rows(upload)["a2.jpg"] == "new"


def test_a_run_that_died_behind_its_part_leaves_the_reasons(
    upload: Upload, jobs: Labels, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        first.write_text("new")
        (first.parent / "a2.jpg").unlink()

    jobs.change = change
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "results", lambda *_: refusal(404, "job_not_found"))
        assert upload()[0] == Exit.SERVICE
    jobs.change = lambda: None
    (first.parent / "a2.jpg").write_text("copied")
    upload("--resume")
    assert (rows(upload)["a.jpg"], rows(upload)["a2.jpg"]) == (CHANGED, GONE)


def test_the_reasons_of_a_run_that_died_before_its_part_do_not_stay(
    upload: Upload, jobs: Labels, first: Path
) -> None:
    """Such as a disk that was not there for a moment."""

    def change() -> None:
        for name in ("a.jpg", "a2.jpg", "b.jpg"):
            (first.parent / name).unlink()

    jobs.change, jobs.broken = change, True
    assert upload()[0] == Exit.SERVICE
    assert upload.table.with_name("table.csv.journal").read_text().count('"unread"') == 3
    jobs.change, jobs.broken = lambda: None, False
    for name in ("a2.jpg", "b.jpg"):
        (first.parent / name).write_text("copied" if name == "a2.jpg" else "picture b.jpg")
    assert upload("--resume")[0] == Exit.OK
    assert rows(upload)["a.jpg"] == rows(upload)["a2.jpg"] == "copied"
    assert rows(upload)["b.jpg"] == "picture b.jpg"


def test_the_release_before_noted_the_first_of_equal_files_only() -> None:
    plan = Plan(0, tuple(PlannedFile(path=path, digest="d") for path in ("a.jpg", "b.jpg")))
    plan.unread[0] = GONE
    error = ItemError("empty_file", "The file is empty.")
    empty = Item(index=0, name="", state="failed", error=error)
    messages = [result_of(plan, position, empty).error for position in (0, 1)]
    assert [each and each.message for each in messages] == [
        GONE,
        f"An equal file was not readable: {GONE}",
    ]

"""The journal: a later run knows what an earlier one noted, however the earlier one ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.errors import UsageError
from client.upload.journal import Journal
from client.upload.plan import Plan, PlannedFile, path_key, row_count

HEADER = {"folder": "/pictures", "top_k": 1}


def plan(number: int, *paths: str) -> Plan:
    return Plan(number, tuple(PlannedFile(path=path, digest=f"digest of {path}") for path in paths))


def test_a_plan_whose_rows_are_not_written_is_left_to_do(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.journal"
    first, second = plan(0, "a.jpg"), plan(1, "b.jpg", "caf\udce9.jpg")
    with Journal(path, HEADER) as journal:
        journal.plan(first)
        journal.plan(second)
        journal.unread(second, 1, "Permission denied")
        journal.written(first, 123, {"succeeded": 1})
    with Journal(path, HEADER) as journal:
        past = journal.past
    assert {number: each.files for number, each in past.plans.items()} == {1: second.files}
    assert past.plans[1].key == second.key
    assert past.plans[1].unread == {1: "Permission denied"}
    assert (past.next_number, past.table_length, past.counts["succeeded"]) == (2, 123, 1)
    assert past.paths == set(map(path_key, ["a.jpg", "b.jpg", "caf\udce9.jpg"]))


def test_a_file_may_be_found_unreadable_after_the_rows_of_its_plan_are_written(
    tmp_path: Path,
) -> None:
    """The part that a killed run has sent is stored while the next run reads the files again."""
    path = tmp_path / "t.csv.journal"
    first = plan(0, "a.jpg")
    with Journal(path, HEADER) as journal:
        journal.plan(first)
        journal.written(first, 123, {"succeeded": 1})
        journal.unread(first, 0, "Permission denied")
    with Journal(path, HEADER) as journal:
        assert not journal.past.plans and journal.past.counts["succeeded"] == 1


def test_a_plan_with_some_rows_is_continued_behind_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.journal"
    first = plan(0, "a.jpg", "b.jpg", "c.jpg")
    with Journal(path, HEADER) as journal:
        journal.plan(first)
        journal.written(first, 90, {"failed": 1, "code:empty_file": 1}, are_all=False)
        journal.written(first, 123, {"succeeded": 1}, are_all=False)
    with Journal(path, HEADER) as journal:
        past = journal.past
        assert journal.paths_of_rows() == ["a.jpg", "b.jpg"]
        assert row_count(past.plans[0].written) == 2 == row_count(past.counts)
        assert past.table_length == 123
        journal.written(first, 150, {"succeeded": 1})
        assert journal.paths_of_rows() == ["a.jpg", "b.jpg", "c.jpg"]
    with Journal(path, HEADER) as journal:
        assert not journal.past.plans and journal.past.counts["succeeded"] == 2


def lines(path: Path, *entries: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A journal of a plan of three rows. The table has a row that failed and one that did not."""
    path, first = tmp_path / "t.csv.journal", plan(0, "a.jpg", "b.jpg", "c.jpg")
    with Journal(path, HEADER) as journal:
        journal.plan(first)
        journal.written(first, 50, {"failed": 1, "code:empty_file": 1}, are_all=False)
        journal.written(first, 90, {"succeeded": 1}, are_all=False)
    return path


def test_the_last_rows_of_a_plan_are_noted_with_its_counts_for_the_release_before(
    begun: Path,
) -> None:
    """That release ignores `partly`."""
    with Journal(begun, HEADER) as journal:
        journal.written(journal.past.plans[0], 123, {"succeeded": 1})
    whole = {"failed": 1, "code:empty_file": 1, "succeeded": 2}
    assert json.loads(begun.read_text().splitlines()[-1])["counts"] == whole
    with Journal(begun, HEADER) as journal:
        assert journal.past.counts == whole


def test_a_plan_that_the_release_before_has_finished_is_counted_once(begun: Path) -> None:
    lines(begun, {"written": 0, "length": 123, "counts": {"succeeded": 3}})
    with Journal(begun, HEADER) as journal:
        assert dict(journal.past.counts) == {"succeeded": 3} and not journal.past.plans
        assert journal.paths_of_rows() == ["a.jpg", "b.jpg", "c.jpg"]


def test_rows_that_a_retry_of_the_release_before_cut_off_are_written_again(begun: Path) -> None:
    """It takes the table's length and its rows from the lines that it knows."""
    lines(begun, {"retry": [], "length": 20, "counts": {}})
    with Journal(begun, HEADER) as journal:
        past = journal.past
        assert not past.plans[0].written and not past.counts and past.table_length == 20
        assert journal.paths_of_rows() == []
        journal.written(past.plans[0], 50, {"succeeded": 1}, are_all=False)
        assert journal.paths_of_rows() == ["a.jpg"]
        journal.written(past.plans[0], 123, {"succeeded": 2})
        assert journal.paths_of_rows() == ["a.jpg", "b.jpg", "c.jpg"]
    with Journal(begun, HEADER) as journal:
        assert journal.past.counts == {"succeeded": 3}


def test_a_retry_keeps_the_other_rows_of_a_plan_that_goes_on(begun: Path) -> None:
    with Journal(begun, HEADER) as journal:
        journal.retry(["a.jpg"], 40, {"succeeded": 1})
    with Journal(begun, HEADER) as journal:
        assert row_count(journal.past.plans[0].written) == 2
        assert journal.paths_of_rows() == ["b.jpg"]
        journal.written(journal.past.plans[0], 80, {"succeeded": 1})
        assert journal.paths_of_rows() == ["b.jpg", "c.jpg"]
    with Journal(begun, HEADER) as journal:
        assert journal.past.counts == {"succeeded": 2}


def test_a_torn_last_line_is_ignored_wherever_it_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, HEADER) as journal:
        journal.plan(plan(0, "a.jpg"))
        whole = path.stat().st_size
        journal.plan(plan(1, "b.jpg"))
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with Journal(path, HEADER) as journal:
            assert list(journal.past.plans) == ([0] if length >= whole else [])
            journal.plan(plan(7, "c.jpg"))
        with Journal(path, HEADER) as journal:
            assert list(journal.past.plans)[-1] == 7


def test_the_journal_of_another_upload_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, HEADER) as journal:
        journal.plan(plan(0, "a.jpg"))
    with pytest.raises(UsageError, match="top_k 1, not 5"):
        Journal(path, HEADER | {"top_k": 5})
    Journal(path, HEADER | {"min_score": 0.0}).close()  # as if the option had been there before
    with pytest.raises(UsageError, match="min_score 0, not 0.6"):
        Journal(path, HEADER | {"min_score": 0.6})
    path.write_text("something else\n")
    with pytest.raises(UsageError, match="damaged"):
        Journal(path, HEADER)


def test_a_journal_without_a_plan_is_begun_again_with_other_options(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, HEADER).close()
    with Journal(path, HEADER | {"top_k": 5}) as journal:
        journal.plan(plan(0, "a.jpg"))
    with pytest.raises(UsageError, match="top_k 5, not 1"):
        Journal(path, HEADER)
    path.write_text('{"journal":2}\n')  # of a later release
    with pytest.raises(UsageError, match="not a journal that this version can read"):
        Journal(path, HEADER)


def test_two_runs_cannot_use_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", HEADER):
        with pytest.raises(UsageError, match="Another upload"):
            Journal(tmp_path / "journal", HEADER)


def test_equal_files_of_a_plan_are_one_item() -> None:
    files = [PlannedFile(path=str(k), digest=digest) for k, digest in enumerate("aabab")]
    files.insert(1, PlannedFile(path="x", error=("unreadable_file", "Permission denied")))
    made = Plan(0, tuple(files))
    assert list(made.items) == [0, 3]
    assert list(made.item_of) == [0, None, 0, 1, 0, 1]

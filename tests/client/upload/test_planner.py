"""How the files of a folder become jobs whose parts are small enough for one request."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from client.upload import planner, upload
from client.upload.plan import Plan
from client.upload.planner import Planner
from client.upload.walk import Walk


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert planner.PART_BYTES == 15 * 2**20
    monkeypatch.setattr(planner, "PART_BYTES", 1000)


def plans(folder: Path, *sizes: int) -> list[Plan]:
    for k, size in enumerate(sizes):
        (folder / f"{k:04}.jpg").write_bytes(b"%04d" % k + bytes(size - 4))
    walk = Walk(folder=str(folder), recursive=True)
    return list(Planner(walk=walk, on_skip=lambda path, reason: None, threads=1).plans())


def sizes_of(plan: Plan) -> list[int]:
    return [file.size for file in plan.files]


def test_a_job_ends_before_a_part_has_too_many_bytes(tmp_path: Path) -> None:
    made = plans(tmp_path, 300, 300, 300, 300, 900, 50)
    assert [sizes_of(plan) for plan in made] == [[300, 300, 300], [300], [900, 50]]


def test_each_part_of_a_job_may_have_so_many_bytes(tmp_path: Path) -> None:
    assert [len(plan.files) for plan in plans(tmp_path, *[30] * 100)] == [100]


def test_a_picture_of_more_bytes_is_sent_alone(tmp_path: Path) -> None:
    made = plans(tmp_path, 10, 5000, 10)
    assert [sizes_of(plan) for plan in made] == [[10], [5000], [10]]


def test_few_jobs_are_under_way_however_small_they_are(tmp_path: Path) -> None:
    [plan] = plans(tmp_path, 300)
    assert upload._WINDOW // upload._room(plan) == 48


def test_a_file_with_more_bytes_than_its_status_says_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of /proc has no end, and another program may write faster than this one reads."""
    monkeypatch.setattr(planner, "MAX_REQUEST_BYTES", 1000)
    monkeypatch.setattr(planner, "_PIECE_BYTES", 100)
    nothing = SimpleNamespace(st_size=0, st_mtime_ns=0)
    monkeypatch.setattr("client.upload.planner.os.fstat", lambda file: nothing)
    [plan] = plans(tmp_path, 1000, 1001, 50_000)
    codes = [file.error and file.error[0] for file in plan.files]
    assert codes == [None, "image_too_large", "image_too_large"]

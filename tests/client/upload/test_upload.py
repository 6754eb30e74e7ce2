"""The command `upload` against the running service: every picture is in the table once."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from client import ImageClassifier
from client.cli.exits import Exit
from tests.client.upload.uploads import Uploads
from tests.support.local_service import LocalService


@pytest.fixture
def uploads(service: LocalService, tmp_path: Path) -> Uploads:
    (tmp_path / "pictures").mkdir()
    return Uploads(service.base_url, tmp_path / "pictures", tmp_path / "table.csv")


@pytest.fixture
def fill(uploads: Uploads, pictures: Sequence[Path]) -> Callable[..., list[str]]:
    """Puts real pictures into the folder, none of which is cached. Returns their names."""

    def put(number: int, prefix: str = "") -> list[str]:
        names = [f"{prefix}{k:04}.jpg" for k in range(number)]
        for k, name in enumerate(names):
            fresh = pictures[k % len(pictures)].read_bytes() + os.urandom(8)
            (uploads.folder / name).write_bytes(fresh)
        return names

    return put


def accepted(service: LocalService) -> float:
    """The number of images that the service has accepted since its start."""
    text = httpx.get(f"{service.base_url}/metrics").text
    counted = re.findall(r"^classifier_images_accepted_total.* (\S+)$", text, re.M)
    return sum(map(float, counted))


def await_accepted(
    service: LocalService, number: float, process: subprocess.Popen[str], seconds: float = 60
) -> None:
    """Return when the service has accepted so many, or when the sending process has ended."""
    deadline = time.monotonic() + seconds
    while accepted(service) < number and process.poll() is None:
        assert time.monotonic() < deadline, "the pictures did not arrive"
        time.sleep(0.01)


def test_a_folder_becomes_a_table_and_the_second_time_nothing_is_sent(
    uploads: Uploads,
    fill: Callable[..., list[str]],
    pictures: Sequence[Path],
    service: LocalService,
) -> None:
    names = fill(40)
    first = uploads.run()
    assert (first["pictures"], first["succeeded"], first["uploaded"]) == (40, 40, 40)
    assert uploads.paths() == names
    with ImageClassifier(service.base_url) as client:
        answer = client.classify(uploads.folder / names[3])
    assert uploads.rows()[3]["label"] == answer.label
    before = uploads.rows()

    second = uploads.run("--overwrite")
    assert (second["succeeded"], second["known"], second["uploaded"], second["bytes"]) == (
        40,
        40,
        0,
        0,
    )
    assert [row["label"] for row in uploads.rows()] == [row["label"] for row in before]


def test_equal_files_are_sent_once(uploads: Uploads, fill: Callable[..., list[str]]) -> None:
    """They are in the first job, in the next one while the first still runs, and in a later one."""
    uploads.program = (
        "from client.upload import planner; planner._FIRST_FILES, planner._GROWTH = 16, 1;"
        + uploads.program
    )
    names = fill(34)
    for k in (0, 1, 33):
        for copy in ("0000a", "0000b", "0135a", "9999a"):
            (uploads.folder / f"{copy}{k}.jpg").write_bytes(
                (uploads.folder / names[k]).read_bytes()
            )
    summary = uploads.run()
    assert (summary["pictures"], summary["succeeded"], summary["uploaded"]) == (46, 46, 34)
    labels = {row["path"]: row["label"] for row in uploads.rows()}
    assert len(labels) == 46
    for k in (0, 1, 33):
        same = {labels[f"{copy}{k}.jpg"] for copy in ("0000a", "0000b", "0135a", "9999a")}
        assert same == {labels[names[k]]}


def test_bad_files_become_rows_and_unusual_names_become_text(
    uploads: Uploads, fill: Callable[..., list[str]], pictures: Sequence[Path]
) -> None:
    fill(2)
    strange = [b"caf\xe9.jpg", "Füße 写真.jpg".encode(), b"n" * 251 + b".jpg", b"=two\nlines.jpg"]
    for name in strange:
        content = pictures[0].read_bytes() + os.urandom(8)
        (uploads.folder / os.fsdecode(name)).write_bytes(content)
    (uploads.folder / "text.jpg").write_text("no picture")
    (uploads.folder / "empty.jpg").touch()
    (uploads.folder / "broken.jpg").symlink_to("nowhere")
    (uploads.folder / "circle").symlink_to(uploads.folder)
    summary = uploads.run("--recursive", expect=Exit.SOME_FAILED)
    assert summary["errors"] == {"empty_file": 1, "unreadable_file": 1, "unsupported_format": 1}
    rows = {row["path"]: row for row in uploads.rows()}
    shown = [r"caf\xe9.jpg", "Füße 写真.jpg", "n" * 251 + ".jpg", "'=two\nlines.jpg"]
    assert [rows[name]["state"] for name in shown] == ["succeeded"] * 4
    assert rows["broken.jpg"]["error_message"] == "No such file or directory"
    assert len(rows) == 9


@pytest.mark.parametrize("kills", [3, pytest.param(6, marks=pytest.mark.long)])
def test_an_upload_that_is_killed_at_any_moment_and_resumed_loses_and_repeats_nothing(
    uploads: Uploads, fill: Callable[..., list[str]], service: LocalService, kills: int
) -> None:
    before = accepted(service)
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    names: list[str] = []
    killed = 0
    for run in range(6 * kills):
        arrived = accepted(service) - before
        if arrived == len(names):  # every run needs something to send
            names += fill(40, f"{run:02}-")
        process = uploads.start("--resume", "--concurrency", "2")
        # The moment depends on what has arrived, so that it is within the upload on any machine.
        moment = chance.uniform(arrived - 20, len(names))
        await_accepted(service, before + moment, process)
        time.sleep(chance.uniform(0, 0.1))
        running = process.poll() is None
        process.kill()
        process.communicate()
        assert running or process.returncode == Exit.OK
        killed += running
        if killed == kills:
            break
    assert killed == kills
    assert uploads.run("--resume")["pictures"] == len(names)
    assert Counter(uploads.paths()) == Counter(names)
    assert {row["state"] for row in uploads.rows()} == {"succeeded"}
    assert accepted(service) - before == len(names)


def test_an_upload_goes_on_when_the_service_comes_back(
    uploads: Uploads, fill: Callable[..., list[str]], service: LocalService
) -> None:
    names = fill(96)
    before = accepted(service)
    process = uploads.start("--concurrency", "1")
    await_accepted(service, before + 1, process)
    service.stop("web", signal.SIGKILL)
    assert process.stderr and "Trying again" in process.stderr.readline()
    assert process.poll() is None
    service.start_web()
    _, err = process.communicate(timeout=120)
    assert process.returncode == Exit.OK, err
    assert Counter(uploads.paths()) == Counter(names)
    service.await_ready()


def test_parquet_is_made_at_the_end(uploads: Uploads, fill: Callable[..., list[str]]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    names = fill(3)
    uploads.table = uploads.table.with_suffix(".parquet")
    uploads.run("--top-k", 2)
    table = parquet.read_table(uploads.table)
    assert table["path"].to_pylist() == names
    assert all(0 < p < 1 for p in table["probability_2"].to_pylist())


@pytest.fixture
def client(service: LocalService) -> Iterator[ImageClassifier]:
    with ImageClassifier(service.base_url) as connected:
        yield connected


def test_pictures_are_submitted_as_one_job_and_its_results_come_in_order(
    client: ImageClassifier, pictures: Sequence[Path]
) -> None:
    sent = [path.read_bytes() + os.urandom(8) for path in pictures[:40]]
    job = client.submit([*sent, pictures[0], b"bad"], custom_ids=[f"id {k}" for k in range(42)])
    assert job.wait(timeout=60).counts.failed == 1
    items = list(job.results())
    assert [item.custom_id for item in items] == [f"id {k}" for k in range(42)]
    assert items[40].name == pictures[0].name
    assert items[41].error and items[41].error.code == "unsupported_format"
    assert items[0].predictions == client.classify(sent[0]).predictions


def test_a_cancelled_job_has_ended_and_keeps_what_is_done(
    client: ImageClassifier, pictures: Sequence[Path]
) -> None:
    job = client.submit([path.read_bytes() + os.urandom(8) for path in pictures[:64]])
    status = job.cancel()
    assert status.ended
    counts = status.counts
    assert counts.succeeded + counts.failed + counts.cancelled == 64
    assert len(list(job.results())) == 64

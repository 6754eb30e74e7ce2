"""A folder becomes a table, whatever happens on the way. The command and the running service."""

from __future__ import annotations

import csv
import json
import os
import pty
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from client import ImageClassifier
from client.cli.command import Exit
from tests.support.local_service import LocalService

ROOT = Path(__file__).parents[2]


class Uploads:
    """Runs `image-classifier upload` on a folder, into a table beside it."""

    def __init__(self, service: LocalService, folder: Path, table: Path) -> None:
        self.folder = folder
        self.table = table
        self._url = service.base_url

    def start(self, *options: object, **popen: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "client", "upload", self.folder, "--url", self._url]
        command += ["--output", self.table, *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([str(each) for each in command], cwd=ROOT, **(pipes | popen))

    def run(self, *options: object, expect: Exit = Exit.OK, **popen: Any) -> dict[str, Any]:
        """The summary."""
        process = self.start("--json", *options, **popen)
        out, err = process.communicate(timeout=120)
        assert process.returncode == expect, (process.returncode, out, err)
        summary: dict[str, Any] = json.loads(out)
        return summary

    def rows(self) -> list[dict[str, str]]:
        with open(self.table, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def paths(self) -> list[str]:
        return [row["path"] for row in self.rows()]


@pytest.fixture
def uploads(service: LocalService, tmp_path: Path) -> Uploads:
    (tmp_path / "pictures").mkdir()
    return Uploads(service, tmp_path / "pictures", tmp_path / "table.csv")


@pytest.fixture
def fill(uploads: Uploads, pictures: Sequence[Path]) -> Callable[..., list[str]]:
    """Puts real pictures into the folder that nobody has seen before; gives their names."""

    def put(number: int, prefix: str = "") -> list[str]:
        names = [f"{prefix}{k:04}.jpg" for k in range(number)]
        for k, name in enumerate(names):
            fresh = pictures[k % len(pictures)].read_bytes() + os.urandom(8)
            (uploads.folder / name).write_bytes(fresh)
        return names

    return put


def accepted(service: LocalService) -> float:
    """Images that the service has taken on since it was started."""
    text = httpx.get(f"{service.base_url}/metrics").text
    counted = re.findall(r"^classifier_images_accepted_total.* (\S+)$", text, re.M)
    return sum(map(float, counted))


def await_accepted(
    service: LocalService, number: float, process: subprocess.Popen[str], seconds: float = 60
) -> None:
    """Return once the service has taken on so many, or the process that sends them has ended."""
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
    names = fill(70)
    first = uploads.run()
    assert (first["pictures"], first["succeeded"], first["uploaded"]) == (70, 70, 70)
    assert uploads.paths() == names
    with ImageClassifier(service.base_url) as client:
        answer = client.classify(uploads.folder / names[3])
    assert uploads.rows()[3]["label"] == answer.label
    before = uploads.rows()

    second = uploads.run("--overwrite")
    assert (second["succeeded"], second["known"], second["uploaded"], second["bytes"]) == (
        70,
        70,
        0,
        0,
    )
    assert [row["label"] for row in uploads.rows()] == [row["label"] for row in before]


def test_what_is_equal_is_sent_once(uploads: Uploads, fill: Callable[..., list[str]]) -> None:
    """In one job, in the next one while the first is worked on, and in one after that."""
    names = fill(140)
    for k in (0, 1, 130):
        for copy in ("0000a", "0000b", "0135a", "9999a"):
            (uploads.folder / f"{copy}{k}.jpg").write_bytes(
                (uploads.folder / names[k]).read_bytes()
            )
    summary = uploads.run()
    assert (summary["pictures"], summary["succeeded"], summary["uploaded"]) == (152, 152, 140)
    labels = {row["path"]: row["label"] for row in uploads.rows()}
    assert len(labels) == 152
    for k in (0, 1, 130):
        same = {labels[f"{copy}{k}.jpg"] for copy in ("0000a", "0000b", "0135a", "9999a")}
        assert same == {labels[names[k]]}


def test_bad_files_are_rows_and_strange_names_are_told_as_text(
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


def test_killed_at_any_moment_and_gone_on_with_nothing_is_lost_or_comes_twice(
    uploads: Uploads, fill: Callable[..., list[str]], service: LocalService
) -> None:
    before = accepted(service)
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    names: list[str] = []
    kills = 0
    for run in range(30):
        arrived = accepted(service) - before
        if arrived == len(names):  # every run must have something to send
            names += fill(160, f"{run:02}-")
        process = uploads.start("--resume", "--concurrency", "2")
        # By what has arrived, not by the clock: a fast machine is done before a slow one begins.
        moment = chance.uniform(arrived - 40, len(names))
        await_accepted(service, before + moment, process)
        time.sleep(chance.uniform(0, 0.1))
        killed = process.poll() is None
        process.kill()
        process.communicate()
        assert killed or process.returncode == Exit.OK
        kills += killed
        if kills == 5:
            break
    assert kills == 5
    assert uploads.run("--resume")["pictures"] == len(names)
    assert Counter(uploads.paths()) == Counter(names)
    assert {row["state"] for row in uploads.rows()} == {"succeeded"}
    assert accepted(service) - before == len(names)


def test_a_run_after_the_last_looks_for_new_files_only(
    uploads: Uploads, fill: Callable[..., list[str]]
) -> None:
    old = fill(3)
    uploads.run("--resume")
    new = fill(2, "new")
    summary = uploads.run("--resume")
    assert (summary["pictures"], summary["added"], summary["uploaded"]) == (5, 2, 2)
    assert uploads.paths() == old + new
    out, _ = uploads.start("--resume").communicate(timeout=60)
    assert "5 pictures, 5 classified" in out and "this run: 0 pictures" in out
    assert "sent 0 (0.0 MB)" in out


def test_a_table_that_is_there_is_not_written_over_by_chance(
    uploads: Uploads, fill: Callable[..., list[str]]
) -> None:
    fill(1)
    uploads.table.write_text("mine\n")
    for options in ([], ["--resume"]):
        process = uploads.start(*options)
        _, err = process.communicate(timeout=60)
        assert process.returncode == Exit.USAGE, err
    assert uploads.table.read_text() == "mine\n"
    uploads.run("--overwrite")
    assert uploads.paths() == ["0000.jpg"]


def test_a_full_disk_is_told_and_gone_on_from(
    uploads: Uploads, fill: Callable[..., list[str]], service: LocalService
) -> None:
    """No file may grow beyond a size: writing fails in the middle, as on a full disk."""
    names = fill(160)
    before = accepted(service)

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (17_000, 17_000))

    summary = uploads.run(expect=Exit.DISK, preexec_fn=small_disk)
    assert summary["error"] and summary["pictures"] < 160
    uploads.run("--resume")
    assert Counter(uploads.paths()) == Counter(names)
    assert accepted(service) - before == len(names)


def test_a_service_that_is_away_for_a_while_is_waited_for(
    uploads: Uploads, fill: Callable[..., list[str]], service: LocalService
) -> None:
    names = fill(600)
    before = accepted(service)
    process = uploads.start()
    await_accepted(service, before + 1, process)
    service.stop("web", signal.SIGKILL)
    time.sleep(2)
    assert process.poll() is None
    service.start_web()
    out, err = process.communicate(timeout=120)
    assert process.returncode == Exit.OK, err
    assert "trying again" in err
    assert Counter(uploads.paths()) == Counter(names)
    service.await_ready()


def test_too_many_failures_stop_it(uploads: Uploads, fill: Callable[..., list[str]]) -> None:
    fill(60, "good")
    for k in range(20):
        (uploads.folder / f"bad{k}.jpg").write_text("no picture")
    summary = uploads.run("--max-failures", 5, expect=Exit.TOO_MANY_FAILURES)
    assert "5 may" in summary["error"]
    summary = uploads.run("--resume", expect=Exit.SOME_FAILED)
    assert (summary["pictures"], summary["failed"]) == (80, 20)


def test_a_watched_folder_s_new_files_come_into_the_table_until_ctrl_c(
    uploads: Uploads, fill: Callable[..., list[str]]
) -> None:
    process = uploads.start("--watch")
    time.sleep(1)
    names = fill(3)
    await_rows(uploads, 3)
    names += fill(2, "later")
    await_rows(uploads, 5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == Exit.OK, err
    assert sorted(uploads.paths()) == sorted(names)


def await_rows(uploads: Uploads, number: int) -> None:
    deadline = time.monotonic() + 30
    while not uploads.table.exists() or len(uploads.paths()) < number:
        assert time.monotonic() < deadline, "the new files did not come into the table"
        time.sleep(0.1)


def test_ctrl_c_ends_it_at_once_and_tells_how_to_go_on(
    uploads: Uploads, fill: Callable[..., list[str]], service: LocalService
) -> None:
    names = fill(800)
    before = accepted(service)
    process = uploads.start()
    await_accepted(service, before + 1, process)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED, err
    assert time.monotonic() - started < 3
    assert "--resume" in err
    uploads.run("--resume")
    assert Counter(uploads.paths()) == Counter(names)


def test_a_terminal_gets_a_bar_with_the_rate_and_a_log_gets_lines(
    uploads: Uploads, fill: Callable[..., list[str]]
) -> None:
    fill(150)
    keyboard, screen = pty.openpty()
    process = uploads.start(stderr=screen)
    os.close(screen)
    shown = b""
    try:
        while some := os.read(keyboard, 65536):
            shown += some
    except OSError:  # a terminal whose programs have all ended
        pass
    out, _ = process.communicate(timeout=60)
    assert re.search(rb"of 150 pictures, \d+ images/s", shown)
    assert "150 pictures, 150 classified, 0 failed" in out

    process = uploads.start("--overwrite")
    out, err = process.communicate(timeout=60)
    assert "\x1b" not in out + err


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
    job = client.submit([path.read_bytes() + os.urandom(8) for path in pictures])
    status = job.cancel()
    assert status.ended
    counts = status.counts
    assert counts.succeeded + counts.failed + counts.cancelled == 100
    assert len(list(job.results())) == 100

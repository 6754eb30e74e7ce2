"""An upload that ends early, and its continuation. The service is a scripted server."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.cli.exits import Exit
from tests.client.scripted_jobs import ScriptedJobs
from tests.client.scripted_server import Answer, Cut, scripted_server
from tests.client.upload.uploads import Uploads


class Jobs(ScriptedJobs):
    """A part of the first job can be held until the test releases it."""

    holding = False
    held = 1

    def put(self, job: Any, number: int, body: bytes) -> Answer | Cut:
        if self.holding and number == self.held:
            self.hold()
            return Cut()
        return super().put(job, number, body)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def uploads(jobs: Jobs, tmp_path: Path) -> Iterator[Uploads]:
    (tmp_path / "pictures").mkdir()
    with scripted_server(jobs) as server:
        yield Uploads(server.url, tmp_path / "pictures", tmp_path / "table.csv")
        jobs.released.set()


def fill(uploads: Uploads, number: int, prefix: str = "") -> list[str]:
    names = [f"{prefix}{k:04}.jpg" for k in range(number)]
    for name in names:
        (uploads.folder / name).write_text(f"picture {name}")
    return names


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)


def noted_rows(uploads: Uploads) -> int:
    """The rows of a running upload that its next run will keep."""
    journal = uploads.table.with_name(uploads.table.name + ".journal")
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return sum(each["counts"]["succeeded"] for each in whole if "partly" in each)


def test_ctrl_c_ends_an_upload_without_waiting_for_the_service(
    uploads: Uploads, jobs: Jobs
) -> None:
    names = fill(uploads, 100)
    jobs.holding = True
    process = uploads.start()
    until(lambda: len(jobs.digests) == 68)
    process.send_signal(signal.SIGINT)
    # The held request would be answered after a minute.
    _, err = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED, err
    assert "Continue with --resume" in err
    jobs.holding = False
    uploads.run("--resume")
    assert uploads.paths() == names
    assert set(Counter(jobs.digests).values()) == {1}


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_killed_upload_leaves_the_rows_of_finished_parts(
    uploads: Uploads, jobs: Jobs, ending: str
) -> None:
    uploads.table = uploads.table.with_suffix(ending)
    names = fill(uploads, 100)
    for copy, original in (("0010-copy.jpg", names[3]), ("0099-copy.jpg", names[4])):
        (uploads.folder / copy).write_bytes((uploads.folder / original).read_bytes())
        names.append(copy)
    jobs.holding, jobs.held = True, 2
    process = uploads.start()
    # The first two parts, and the copy of a file in the first one.
    until(lambda: noted_rows(uploads) == 65)
    process.kill()
    process.communicate()
    jobs.holding = False
    summary = uploads.run("--resume")
    assert (summary["pictures"], summary["succeeded"], summary["added"]) == (102, 102, 37)
    if ending == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        assert parquet.read_table(uploads.table)["path"].to_pylist() == sorted(names)
    else:
        assert uploads.paths() == sorted(names)
    assert set(Counter(jobs.digests).values()) == {1}


def test_failed_rows_of_a_killed_upload_are_classified_again(uploads: Uploads, jobs: Jobs) -> None:
    """Its job has written some rows, and goes on behind them."""
    names = fill(uploads, 100)
    (uploads.folder / names[5]).write_text("bad")
    jobs.holding, jobs.held = True, 2
    process = uploads.start()
    until(lambda: noted_rows(uploads) == 63)
    process.kill()
    process.communicate()
    jobs.holding = False
    (uploads.folder / names[5]).write_text("mended")
    summary = uploads.run("--retry-failed")
    assert (summary["pictures"], summary["succeeded"], summary["failed"]) == (100, 100, 0)
    assert uploads.paths() == [*names[:5], *names[6:], names[5]]


@pytest.mark.parametrize("most_bytes", [5_000, 17_000], ids=["journal", "table"])
def test_an_upload_ends_on_a_full_disk_and_is_resumed_later(
    uploads: Uploads, jobs: Jobs, most_bytes: int
) -> None:
    """No file may exceed a size, so writing fails in the middle, as on a full disk."""
    names = fill(uploads, 100)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    summary = uploads.run(expect=Exit.DISK, preexec_fn=limit)
    assert "File too large" in summary["error"] and summary["pictures"] < 100
    uploads.run("--resume")
    assert uploads.paths() == names
    assert len(jobs.digests) == len(set(jobs.digests)) == 100


def test_new_files_of_a_watched_folder_are_added_until_ctrl_c(uploads: Uploads) -> None:
    uploads.program = (
        "from client.upload import planner; planner.WATCH_SECONDS = 0.2;" + uploads.program
    )
    process = uploads.start("--watch")
    until(uploads.table.exists)
    names = fill(uploads, 3)
    until(lambda: len(uploads.paths()) == 3)
    names += fill(uploads, 2, "later")
    until(lambda: len(uploads.paths()) == 5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == Exit.OK, err
    assert sorted(uploads.paths()) == sorted(names)


def test_a_terminal_gets_a_bar_with_the_rate_and_a_log_gets_lines(
    uploads: Uploads, jobs: Jobs
) -> None:
    fill(uploads, 100)
    jobs.ending.clear()
    keyboard, screen = pty.openpty()
    process = uploads.start(stderr=screen)
    os.close(screen)
    shown = b""
    while not re.search(rb"100 of 100 pictures, [\d.]+ pictures/s", shown):
        shown += os.read(keyboard, 65536)
    jobs.ending.set()
    out, _ = process.communicate(timeout=60)
    os.close(keyboard)
    assert "100 pictures, 100 classified, 0 failed" in out

    process = uploads.start("--overwrite")
    out, err = process.communicate(timeout=60)
    assert "\x1b" not in out + err


@pytest.mark.long
def test_memory_does_not_grow_with_the_folder(uploads: Uploads) -> None:
    """Both folders are larger than the window between planning and writing."""
    uploads.program = (
        "import sys; from client.cli.command import main;"
        "from client.upload import planner, upload;"
        "planner.MAX_FILES = 128; upload._WINDOW = 3 * 128; status = main();"
        "print([x for x in open('/proc/self/status') if 'VmHWM' in x][0].split()[1]);"
        "sys.exit(status)"
    )
    peaks = []
    for more in (3_000, 10_000):
        fill(uploads, more, f"{more}-")
        out, _ = uploads.start("--overwrite").communicate(timeout=60)
        peaks.append(int(out.splitlines()[-1]) * 1024)
    assert len(uploads.paths()) == 13_000
    # 500 bytes for each further file.
    assert peaks[1] - peaks[0] < 5e6, peaks

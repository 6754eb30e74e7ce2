"""Faults in the middle of an upload, which a service that works cannot be made to have."""

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

from client.cli.command import Exit, main
from tests.client.scripted_jobs import ScriptedJobs
from tests.client.scripted_server import Answer, Cut, refusal, scripted_server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for k in range(100):
        (tmp_path / "pictures" / f"{k:03}.jpg").write_bytes(b"picture %d" % k)
    return tmp_path / "pictures"


@contextmanager
def uploading(jobs: ScriptedJobs, folder: Path) -> Iterator[list[object]]:
    """The command's arguments, to be run while the server is there."""
    with scripted_server(jobs) as server:
        table = folder.parent / "table.csv"
        yield ["upload", folder, "--url", server.url, "--output", table, "--json"]


def run(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = main([str(each) for each in arguments])
    return status, json.loads(capsys.readouterr().out)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder.parent / "table.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_file_that_is_gone_when_its_turn_comes_is_a_row_that_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Jobs(ScriptedJobs):
        def open(self, asked: dict[str, Any], key: str) -> Answer | Cut:
            (folder / "040.jpg").unlink()
            return super().open(asked, key)

    with uploading(Jobs(), folder) as arguments:
        status, summary = run(arguments, capsys)
    assert status == Exit.SOME_FAILED
    assert summary["errors"] == {"unreadable_file": 1}
    assert rows(folder)[40]["error_message"] == "No such file or directory"
    assert len(rows(folder)) == 100


def test_a_file_that_changes_is_sent_as_it_is_then_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Jobs(ScriptedJobs):
        def open(self, asked: dict[str, Any], key: str) -> Answer | Cut:
            (folder / "040.jpg").write_bytes(b"another picture")
            return super().open(asked, key)

    with uploading(jobs := Jobs(), folder) as arguments:
        status, summary = run(arguments, capsys)
    assert (status, summary["changed"]) == (Exit.OK, 1)
    assert hashlib.sha256(b"another picture").hexdigest() in jobs.digests


def test_an_answer_that_is_cut_off_is_asked_for_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Jobs(ScriptedJobs):
        cuts = 0

        def __call__(self, request: Any) -> Answer | Cut:
            answer = super().__call__(request)
            # Every third answer is lost after its work was done.
            self.cuts += 1
            return Cut() if self.cuts % 3 == 0 else answer

    with uploading(jobs := Jobs(), folder) as arguments:
        status, summary = run(arguments, capsys)
    assert (status, summary["succeeded"], len(rows(folder))) == (Exit.OK, 100, 100)
    assert len(jobs.jobs) == 1


def test_a_refusal_under_load_is_waited_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Jobs(ScriptedJobs):
        refusals = 5

        def put(self, job: Any, number: int, body: bytes) -> Answer | Cut:
            if self.refusals:
                self.refusals -= 1
                return refusal(503, "overloaded", Retry_After="0")
            return super().put(job, number, body)

    with uploading(jobs := Jobs(), folder) as arguments:
        assert run(arguments, capsys)[0] == Exit.OK
    assert Counter(jobs.digests).most_common(1)[0][1] == 1


def test_a_job_that_is_gone_ends_the_run_and_the_next_one_opens_it_anew(
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


def test_the_killed_run_s_parts_are_not_sent_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It dies when all its parts but one have been stored."""

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


def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    """Both are more than is ever under way; the larger one may cost its names."""
    peaks = {}
    with scripted_server(ScriptedJobs()) as server:
        for number in (6_500, 16_500):
            folder = tmp_path / str(number)
            folder.mkdir()
            for k in range(number):
                (folder / f"{k:06}.jpg").write_bytes(b"%d %d" % (number, k))
            program = (
                "import sys; from client.cli.command import main; status = main(sys.argv[1:]);"
                "print([x for x in open('/proc/self/status') if 'VmHWM' in x][0].split()[1]);"
                "sys.exit(status)"
            )
            table = f"{folder}.csv"
            command = [sys.executable, "-c", program, "upload", str(folder), "--output", table]
            ended = subprocess.run(
                [*command, "--url", server.url], cwd=ROOT, capture_output=True, text=True
            )
            assert ended.returncode == Exit.OK, ended.stderr
            peaks[number] = int(ended.stdout.splitlines()[-1]) * 1024
            assert len(Path(table).read_text().splitlines()) == number + 1
    assert peaks[16_500] - peaks[6_500] < 5e6, peaks

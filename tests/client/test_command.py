"""The requests and the output of the command, with a scripted server."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest

from client.cli.command import main
from client.cli.exits import Exit
from tests.client.scripted_jobs import ScriptedJobs, ScriptedJob
from tests.client.scripted_server import Answer, Cut, Request, in_order, scripted_server

LETTER = {"id": "j:0:1:1", "job_id": "j", "index": 1, "name": "bomb.jpg", "lane": "bulk", "at": 0.0}


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(in_order(Answer(200, {"dead_letters": []}))) as server:
        monkeypatch.setenv("IMAGE_CLASSIFIER_URL", server.url)
        monkeypatch.setenv("IMAGE_CLASSIFIER_API_KEY", "imgc_key")
        assert main(["dead-letters", "list"]) == Exit.OK
    assert server.requests[0].headers["Authorization"] == "Bearer imgc_key"


@pytest.mark.parametrize("place", ["before", "after"])
def test_global_options_stand_before_or_after_the_command(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_server(in_order(Answer(200, {"dead_letters": [LETTER]}))) as server:
        options, command = ["--url", server.url, "--json"], ["dead-letters", "list"]
        arguments = options + command if place == "before" else command + options
        assert main(arguments) == Exit.OK
        assert main(["dead-letters", *options, "list"]) == Exit.OK
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == [LETTER]


def test_an_option_after_the_command_wins() -> None:
    with scripted_server(in_order(Answer(200, {"dead_letters": []}))) as server:
        wrong = ["--url", "http://127.0.0.1:1"]
        assert main([*wrong, "dead-letters", "list", "--url", server.url]) == Exit.OK


def test_classify_and_upload_name_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a picture.jpg").touch()
    assert main(["classify", str(tmp_path)]) == Exit.USAGE
    assert f"image-classifier upload {shlex.quote(str(tmp_path))}" in capsys.readouterr().err
    assert main(["upload", str(tmp_path / "a picture.jpg")]) == Exit.USAGE
    file = f"'{tmp_path}/a picture.jpg'"
    assert f"image-classifier classify {file}" in capsys.readouterr().err


def test_a_minus_sign_is_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tabby = {"class_id": 281, "class_name": "tabby", "probability": 0.5}
    answer = Answer(200, {"job_id": "j", "name": "picture", "predictions": [tabby]})
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the picture")))
    with scripted_server(in_order(answer)) as server:
        assert main(["classify", "-", "--url", server.url]) == Exit.OK
    assert b"the picture" in server.requests[0].body
    assert capsys.readouterr().out == "-: tabby 50.0%\n"


def test_dead_letters_are_listed_and_retried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def script(request: Request) -> Answer | Cut:
        if request.method == "GET":
            return Answer(200, {"dead_letters": [LETTER]})
        return Answer(202, ScriptedJobs().status("j", ScriptedJob(2)))

    with scripted_server(script) as server:
        assert main(["dead-letters", "list", "--url", server.url]) == Exit.OK
        assert "job j, item 1: bomb.jpg" in capsys.readouterr().out
        main(["dead-letters", "retry", "--all", "--json", "--url", server.url])
    assert json.loads(capsys.readouterr().out) == {"j:0:1:1": "j"}
    assert server.requests[-1].path == "/api/v1/dead-letters/j:0:1:1/retry"


def test_an_id_is_always_one_segment_of_the_path() -> None:
    with scripted_server(in_order(Answer(404, {"code": "job_not_found"}))) as server:
        assert main(["cancel", "../dead-letters?x=/1", "--url", server.url]) == Exit.SERVICE
    assert server.requests[0].path == "/api/v1/jobs/..%2Fdead-letters%3Fx%3D%2F1"


def test_the_usage_of_a_client_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    usage = {
        "client": "key alice",
        "outstanding_images": {"interactive": 1, "bulk": 9600},
        "bytes_held": 3 * 2**20,
        "bytes_kept": 2**10,
        "images_today": 417,
        "day_ends_at": 0.0,
        "limits": {"images": None, "bytes": 2**30, "images_per_day": 100_000, "of_later": 1},
    }
    with scripted_server(lambda request: Answer(200, usage)) as server:
        assert main(["usage", "--url", server.url]) == Exit.OK
        lines = capsys.readouterr().out.splitlines()
        assert lines[:4] == [
            "client       key alice",
            "outstanding  1 interactive, 9,600 bulk",
            "held         3.0 MB, at most 1,024.0 MB",
            "kept         about 1 KB of records and results",
        ]
        today = "today        417 pictures, at most 100,000; a new day begins at 19"
        assert lines[4].startswith(today)
        assert main(["usage", "--json", "--url", server.url]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["limits"]["images_per_day"] == 100_000


def test_the_jobs_of_a_client_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    job = ScriptedJobs().status("j", ScriptedJob(2))
    with scripted_server(in_order(Answer(200, {"jobs": [job], "next_before": None}))) as server:
        assert main(["jobs", "--url", server.url]) == Exit.OK
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["JOB", "LANE", "STATE", "MADE", "PICTURES", "DONE", "FAILED"]
    assert line.startswith(f"j    {job['lane']}")


def test_a_list_of_jobs_tells_that_there_are_more(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [ScriptedJobs().status(name, ScriptedJob(2)) for name in ("new", "old")]
    with scripted_server(in_order(Answer(200, {"jobs": jobs, "next_before": None}))) as server:
        assert main(["jobs", "--limit", "1", "--url", server.url]) == Exit.OK
    out, err = capsys.readouterr()
    assert "new" in out and "old" not in out
    assert err == "There are more jobs than these 1. Use --limit N.\n"


@pytest.mark.parametrize("wait", ["nan", "inf", "-1"])
def test_a_wait_that_is_no_time_is_a_wrong_argument(wait: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["status", "j", "--wait", wait])
    assert ended.value.code == Exit.USAGE


def test_results_with_a_failed_picture_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = ScriptedJobs()
    status = jobs.status("j", ScriptedJob(1))
    status |= {"state": "completed"}
    status["counts"] |= {"succeeded": 0, "failed": 1, "queued": 0}
    error = {"code": "decode_failed", "message": "The picture is damaged."}
    item = {"index": 0, "name": "a.jpg", "state": "failed", "error": error}
    page = {"total": 1, "items": [item], "next_offset": None}
    with scripted_server(in_order(Answer(200, status), Answer(200, page))) as server:
        assert main(["results", "j", "--url", server.url]) == Exit.SOME_FAILED
    out, err = capsys.readouterr()
    assert "decode_failed" in out
    assert err == "1 picture of job j failed. The rows say why.\n"

"""Names, labels and messages of others cannot steer a terminal or forge a line."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from client.cli.command import main
from client.cli.exits import Exit
from client.cli.progress import Lines
from client.text import escaped
from tests.client.scripted_jobs import ScriptedJob, ScriptedJobs
from tests.client.scripted_server import (
    Answer,
    Cut,
    Request,
    in_order,
    refusal,
    scripted_server,
)

#: A forged line, a colour, a window title, a reversed name and a C1 control sequence.
EVIL = "a\n12:00 CRITICAL forged\r\x1b[31mRED\x1b]0;title\x07\u202egpj.exe\x9b1m\u2028\x7f"
UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

Script = Callable[[Request], Answer | Cut]


def labels(request: Request) -> Answer:
    prediction = {"class_id": 1, "class_name": EVIL, "probability": 0.5}
    return Answer(200, {"job_id": EVIL, "name": EVIL, "predictions": [prediction]})


def status_of_a_job(request: Request) -> Answer:
    return Answer(200, ScriptedJobs().status(EVIL, ScriptedJob(1)) | {"state": EVIL})


def letters(request: Request) -> Answer:
    letter = {"id": EVIL, "job_id": EVIL, "index": 0, "name": EVIL, "lane": EVIL, "at": 0.0}
    return Answer(200, {"dead_letters": [letter]})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / EVIL.replace("/", "")
    path.touch()
    return path


def test_readable_text_stays_as_it_is() -> None:
    # A narrow space of macOS, and the joiners of Persian and of emoji.
    text = "Bildschirmfoto 10:15\u202fvorm. می\u200cخواهم 👩\u200d👩 Füße 写真"
    assert escaped(text) == text
    assert escaped("a\nb\x1b\u202e\x9b") == r"a\nb\x1b\u202e\x9b"


@pytest.mark.parametrize(
    ("command", "script", "lines"),
    [
        ("classify", labels, 1),
        ("classify", in_order(refusal(415, "unsupported_format", EVIL)), 1),
        ("status JOB", status_of_a_job, 2),
        ("status JOB", in_order(refusal(404, "job_not_found", EVIL)), 1),
        ("cancel JOB", in_order(refusal(418, EVIL, EVIL)), 1),
        ("dead-letters list", letters, 1),
        ("dead-letters retry X", status_of_a_job, 1),
    ],
)
@pytest.mark.parametrize("json_", [False, True])
def test_what_a_service_says_is_escaped(
    command: str,
    script: Script,
    lines: int,
    json_: bool,
    picture: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = command.split() + [str(picture)] * (command == "classify")
    with scripted_server(script) as server:
        main([*arguments, "--url", server.url, *["--json"] * json_])
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert not UNSAFE.search(text), text
    assert len(text.splitlines()) == (1 if json_ else lines), text
    assert "forged" in text
    if json_ and captured.out:
        assert "gpj.exe" in json.dumps(json.loads(captured.out))


def test_an_argument_that_a_file_name_forged_is_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["classify", "a.jpg", "--\x1b[31m\nforged"])
    err = capsys.readouterr().err
    assert r"--\x1b[31m\nforged" in err and not UNSAFE.search(err)


def test_results_replace_a_table_only_when_that_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("mine")
    with scripted_server(in_order(refusal(404, "job_not_found"))) as server:
        command = ["results", "abc", "--output", str(table), "--url", server.url]
        assert main(command) == 2 and not server.requests
        assert "labels.csv exists. Give --overwrite to replace it" in capsys.readouterr().err
        assert main([*command, "--overwrite"]) == 4
    assert table.read_text() == "mine", "it is replaced only by a complete table"


def test_reports_of_an_upload_are_escaped() -> None:
    stream = io.StringIO()
    Lines(stream).report(EVIL)
    assert not UNSAFE.search(stream.getvalue()) and stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("json_", [False, True])
def test_results_are_escaped_on_a_terminal_and_unchanged_in_a_pipe(
    json_: bool, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    item = {"index": 0, "name": EVIL, "state": "failed", "error": {"code": "c", "message": EVIL}}

    def script(request: Request) -> Answer:
        if "/results" in request.path:
            return Answer(200, {"items": [item], "next_offset": None})
        return status_of_a_job(request)

    options = ["--json"] * json_
    with scripted_server(script) as server:
        main(["results", "job", "--url", server.url, *options])
        piped = capfdbinary.readouterr().out.decode()
        keyboard, screen = pty.openpty()
        with open(screen, "w") as terminal:
            monkeypatch.setattr(sys, "stdout", terminal)
            main(["results", "job", "--url", server.url, *options])
            shown = os.read(keyboard, 65536).decode()
        os.close(keyboard)
    assert ("\x9b" in piped) and "\u202e" in piped
    # The terminal itself ends each line by CR LF.
    assert not UNSAFE.search(shown.replace("\r", "")), shown
    assert shown.count("\n") == (1 if json_ else 2)


def test_nothing_that_listens_is_one_line_with_address_and_variable(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # The system gives this address to no program that listens.
    for arguments in (["status", "job"], ["classify", "x.jpg"], ["upload", str(tmp_path)]):
        if arguments[0] == "classify":
            arguments[1] = str(tmp_path / "x.jpg")
            (tmp_path / "x.jpg").touch()
        arguments += ["--url", "127.0.0.1:1"]
        if arguments[0] == "upload":
            # It would wait for the service.
            arguments += ["--output", str(tmp_path / "table.csv"), "--patience", "0"]
        assert main(arguments) == Exit.SERVICE
        captured = capsys.readouterr()
        [line] = captured.err.splitlines()
        assert "http://127.0.0.1:1 " in line and "IMAGE_CLASSIFIER_URL" in line
        assert captured.out == ""


def test_a_refused_key_is_one_line_with_the_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_server(in_order(refusal(401, "not_authenticated", "No API key."))) as server:
        assert main(["status", "job", "--url", server.url]) == Exit.SERVICE
    [line] = capsys.readouterr().err.splitlines()
    assert "No API key. Set IMAGE_CLASSIFIER_API_KEY" in line


@pytest.mark.parametrize(
    ("variable", "value", "url"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7890/", "http://192.0.2.1"),
        ("NO_PROXY", "[::1]", "http://192.0.2.1"),
        ("SSL_CERT_FILE", "/dev/null/missing.pem", "https://192.0.2.1"),
    ],
)
def test_a_setting_of_the_environment_that_cannot_be_used_is_one_line(
    variable: str,
    value: str,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["status", "job", "--url", url]) == Exit.SERVICE
    [line] = capsys.readouterr().err.splitlines()
    assert variable in line

"""A program that cannot start says why in one line of its log."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent

_PROGRAMS = {
    "web": [_BIN / "gunicorn", "-c", "web/server/gunicorn.conf.py", "web.app:create_app()"],
    "worker": [_BIN / "celery", "--quiet", "-A", "workers.app", "worker"],
    "webhooks": [_BIN / "celery", "--quiet", "-A", "workers.webhooks.app", "worker"],
    "flower": [_BIN / "celery", "--quiet", "-A", "workers.flower", "flower"],
}


def _run(program: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _PROGRAMS[program],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(folder)} | settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("program", _PROGRAMS)
def test_a_setting_that_is_not_valid_is_one_line_of_the_log(program: str, tmp_path: Path) -> None:
    ended = _run(program, tmp_path, WEB_PORT="secret", MAX_BATCH_SIZE="0")
    assert ended.returncode == 2
    [text] = (ended.stdout + ended.stderr).splitlines()
    line = json.loads(text)
    assert line["log.level"] == "critical" and line["event"]["dataset"] == "classifier.log"
    assert line["service"]["node"] == {"name": socket.gethostname()}
    begin, _, problems = line["message"].partition(": ")
    assert begin == "a setting is not valid"
    assert sorted(problems.split("; ")) == [
        "MAX_BATCH_SIZE: Input should be greater than or equal to 1",
        "WEB_PORT: Input should be a valid integer, unable to parse string as an integer",
    ]
    assert "secret" not in text
    # filebeat reads no file that is shorter than this.
    assert len(text) >= 256


def test_a_wrong_setting_is_named_without_those_that_follow_from_it(tmp_path: Path) -> None:
    [text] = _run("worker", tmp_path, REDIS_URL="nonsense://x").stdout.splitlines()
    message = json.loads(text)["message"]
    assert message.startswith("a setting is not valid: REDIS_URL: ") and ";" not in message


def test_why_gunicorn_ends_is_in_the_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = _run("web", tmp_path, WEB_PORT=port, LOG_FORMAT="json")
    lines = [json.loads(text) for text in (ended.stdout + ended.stderr).splitlines()]
    assert ended.returncode == 1 and "Connection in use" in lines[0]["message"]
    assert {line["service"]["name"] for line in lines} == {"classifier-web"}


def test_a_log_that_is_not_configured_rightly_is_in_json(tmp_path: Path) -> None:
    [text] = _run("worker", tmp_path, LOG_FORMAT="yaml").stdout.splitlines()
    assert json.loads(text)["message"].startswith("a setting is not valid: LOG_FORMAT: ")


def test_an_exception_that_nothing_catches_is_one_line_with_its_traceback(tmp_path: Path) -> None:
    program = (
        "from shared.observe.start import read_settings\n"
        "read_settings('classifier-web')\nraise OSError('no space')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    [text] = (ended.stdout + ended.stderr).splitlines()
    line = json.loads(text)
    assert ended.returncode == 1 and line["message"] == "the program ends: no space"
    assert line["error"]["type"] == "OSError" and "line 3, in" in line["error"]["stack_trace"]

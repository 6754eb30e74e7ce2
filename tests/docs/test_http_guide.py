"""Runs the commands of docs/http.md against a service and compares the answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import pytest

from tests.support.local_service import LocalService

_GUIDE = Path(__file__).parents[2] / "docs/http.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

#: Separates the answers of two commands.
_MARK = "\x1e"


class Example(NamedTuple):
    """A block of commands, and the answer that the guide shows for the last one."""

    commands: list[str]
    shown: list[tuple[str, str]]  #: Kind of the block, text.


def examples() -> Iterator[Example]:
    commands: list[str] = []
    shown: list[tuple[str, str]] = []
    for kind, text in _BLOCK.findall(_GUIDE.read_text()):
        if kind == "console":
            if commands:
                yield Example(commands, shown)
            commands, shown = [line.removeprefix("$ ") for line in text.splitlines()], []
        elif kind != "js":
            shown.append((kind, text))
    yield Example(commands, shown)


@pytest.fixture
def folder(pictures: list[Path], tmp_path: Path) -> Path:
    """The files that the commands name. No other test has sent the same bytes."""
    for name, picture in zip(("picture.jpg", "other.jpg"), pictures, strict=False):
        (tmp_path / name).write_bytes(picture.read_bytes() + os.urandom(8))
    with ZipFile(tmp_path / "holiday.zip", "w") as archive:
        archive.write(tmp_path / "picture.jpg", "beach/1.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def required(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is not installed, and this is continuous integration")
        pytest.skip(f"{program} is not installed")
    return path


def test_every_command_works_and_answers_as_it_is_shown(
    service: LocalService, folder: Path
) -> None:
    required("curl"), required("jq")
    shown = list(examples())
    lines = [f"{command}\nprintf '{_MARK}'" for each in shown for command in each.commands]
    script = "\n".join(lines).replace("localhost:8000", service.base_url.removeprefix("http://"))
    shell = subprocess.run(
        ["bash", "-euc", script], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert shell.returncode == 0, shell.stderr
    answers = iter(shell.stdout.split(_MARK))
    for example in shown:
        last = [next(answers) for _ in example.commands][-1]
        for kind, text in example.shown:
            assert_as_shown(kind, text, last)


def assert_as_shown(kind: str, text: str, answer: str) -> None:
    if kind == "json":
        assert_same_shape(json.loads(text), json.loads(answer), f"{text} but {answer}")
    elif kind == "csv":
        assert answer.splitlines() == text.splitlines()
    else:
        events = [line for line in answer.splitlines() if line.startswith("event: ")]
        assert list(dict.fromkeys(events)) == text.splitlines(), answer


def assert_same_shape(shown: Any, answered: Any, message: str) -> None:
    """The answer has each field that is shown, with a value of the same type.

    States and codes are equal.
    """
    if isinstance(shown, dict):
        assert shown.keys() <= answered.keys(), message
        for name in shown:
            if name in ("state", "code", "counts", "missing", "known", "message", "detail"):
                assert_equal(shown[name], answered[name], message)
            else:
                assert_same_shape(shown[name], answered[name], message)
    elif isinstance(shown, list):
        assert isinstance(answered, list) and bool(shown) == bool(answered), message
        for each in answered[:1]:
            assert_same_shape(shown[0], each, message)
    elif shown is not None and answered is not None:
        assert isinstance(
            answered, type(shown) if isinstance(shown, str) else (int, float)
        ), message


def assert_equal(shown: Any, answered: Any, message: str) -> None:
    """The value is the one shown, except where the job can have made progress."""
    if isinstance(shown, dict):
        assert {k: answered[k] for k in shown if k in ("total", "failed")} == {
            k: v for k, v in shown.items() if k in ("total", "failed")
        }, message
    elif shown != "queued":
        assert answered == shown, message


def test_the_reader_of_events_works(service: LocalService, folder: Path) -> None:
    node = required("node")
    [source] = [text for kind, text in _BLOCK.findall(_GUIDE.read_text()) if kind == "js"]
    files = [("-F", f"files=@{name}") for name in ("picture.jpg", "notes.txt")]
    post = ["curl", "-s", *sum(files, ()), f"{service.base_url}/jobs"]
    job = json.loads(subprocess.check_output(post, cwd=folder))
    script = f"""{source}
        for await (const event of follow(process.argv[2], "imgc_any")) {{
            console.log(event.event, event.id, event.data.name ?? event.data.state);
        }}
        follow(process.argv[2] + "x").next().catch((error) => console.log(error.message));"""
    (folder / "follow.mjs").write_text(script)
    address = f"{service.base_url}/jobs/{job['id']}/events"
    printed = subprocess.check_output(
        [node, "follow.mjs", address], cwd=folder, text=True, timeout=30
    )
    lines = printed.splitlines()
    assert lines[-2:] == ["end undefined completed", "not_found"]
    assert {line.split()[2] for line in lines if line.startswith("item")} == {
        *("picture.jpg", "notes.txt")
    }

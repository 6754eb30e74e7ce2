"""The lines of all programs on one screen, which is calm unless the user asks for all of them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from quickstart import log_file
from quickstart.__main__ import screen_for
from quickstart.log_file import LogFile, path
from quickstart.programs import programs
from quickstart.screen import LAUNCHER, Screen
from shared.errors import ClassifierError
from shared.settings import Settings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def calm_screen(output: io.StringIO, log: LogFile | None = None) -> Screen:
    return Screen(output, ["web", "flower", "ready"], calm=True, for_user=["ready"], log=log)


def test_text_that_could_steer_the_terminal_is_escaped() -> None:
    output = io.StringIO()
    Screen(output, ["web"]).show("web", "a\rb \x1b[31mred\x1b]0;title\x07 \u202egpj.exe\r\n")
    assert output.getvalue() == "web        | a\\rb \\x1b[31mred\\x1b]0;title\\x07 \\u202egpj.exe\n"


def test_a_calm_screen_shows_what_is_for_the_user_and_what_is_wrong() -> None:
    output = io.StringIO()
    screen = calm_screen(output)
    screen.note(LAUNCHER, "web started, process 1")
    screen.show("web", "12:30:00 INFO web.http.requests request in 1 ms  url.path=/WARNING")
    screen.show("web", "worker: Warm shutdown (MainProcess)")
    screen.show("web", "12:30:01 WARNING shared.redis_client Redis is away")
    screen.show("web", "12:30:02 DEBUG gunicorn.error closing")
    screen.show("web", "12:30:03 CRITICAL workers.app no model")
    screen.show("ready", "  http://127.0.0.1:8000")
    screen.show(LAUNCHER, "Stopping")
    assert output.getvalue().splitlines() == [
        "web        | 12:30:01 WARNING shared.redis_client Redis is away",
        "web        | 12:30:03 CRITICAL workers.app no model",
        "  http://127.0.0.1:8000",
        "Stopping",
    ]


def test_a_calm_screen_shows_the_whole_of_an_exception() -> None:
    output = io.StringIO()
    screen = calm_screen(output)
    logged = ["12:30:01 ERROR web.app failed", '    File "a.py", line 1', "  ValueError: x"]
    printed = ["Traceback (most recent call last):", '  File "b.py", line 2', "KeyError: 'y'"]
    for line in [*logged, "12:30:02 INFO web.app goes on", "  more", *printed]:
        screen.show("web", line)
        screen.show("flower", "12:30:01 INFO flower works")
    shown = [line.partition("| ")[2] for line in output.getvalue().splitlines()]
    assert shown == [*logged, *printed]


def test_other_screens_show_every_line_behind_its_program() -> None:
    output = io.StringIO()
    screen = Screen(output, ["web", "ready"], for_user=["ready"])
    screen.note(LAUNCHER, "web started, process 1")
    screen.show("web", "12:30:00 INFO web.app works")
    screen.show("ready", "Ready")
    assert output.getvalue().splitlines() == [
        "quickstart | web started, process 1",
        "web        | 12:30:00 INFO web.app works",
        "ready      | Ready",
    ]


def test_errors_are_red_on_a_terminal_only() -> None:
    terminal, file = Terminal(), io.StringIO()
    for output in (terminal, file):
        calm_screen(output).show("web", "12:30:01 ERROR web.app failed")
    assert terminal.getvalue().startswith("\033[31mweb ")
    assert file.getvalue().startswith("web ")


def test_the_last_lines_explain_the_end_of_a_program_that_has_shown_none() -> None:
    output = io.StringIO()
    screen = calm_screen(output)
    for number in range(30):
        screen.show("flower", f"usage line {number}")
    screen.show("web", "12:30:00 INFO web.app works")
    screen.show("web", "12:30:01 ERROR web.app failed")
    screen.explain("web")
    screen.explain("flower")
    shown = output.getvalue().splitlines()
    assert shown[0].endswith("failed") and len(shown) == 9
    assert shown[1] == "flower     | usage line 22" and shown[-1] == "flower     | usage line 29"


def test_programs_that_are_stopped_for_another_one_speak_to_the_log_alone(tmp_path: Path) -> None:
    """A thread of Flower that was ended in its work printed a traceback."""
    output, log = io.StringIO(), LogFile(tmp_path)
    screen = calm_screen(output, log)
    screen.leave_to_log(["flower", "ready"])
    screen.show("flower", "Traceback (most recent call last):")
    screen.show("ready", "Ready")
    screen.show("web", "12:30:01 ERROR web.app failed")
    screen.say("Stopped.")
    log.close()
    assert output.getvalue() == "web        | 12:30:01 ERROR web.app failed\nStopped.\n"
    assert len(path(tmp_path).read_text().splitlines()) == 4


def test_the_log_has_all_lines_and_only_its_user_reads_it(tmp_path: Path) -> None:
    data = tmp_path / "a new folder"
    log = LogFile(data)
    screen = calm_screen(io.StringIO(), log)
    screen.note(LAUNCHER, "web started, process 1")
    screen.show("web", "12:30:00 INFO web.app caf\N{LATIN SMALL LETTER E WITH ACUTE}\n")
    screen.show("ready", "Ready")
    log.close()
    assert path(data).read_text(encoding="utf-8").splitlines() == [
        "quickstart | web started, process 1",
        "web        | 12:30:00 INFO web.app café",
        "ready      | Ready",
    ]
    assert path(data).stat().st_mode & 0o777 == 0o600


def test_the_log_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "MOST_BYTES", 1000)
    for _ in range(3):  # a later start goes on with the file
        log = LogFile(tmp_path)
        for number in range(100):
            log.write(f"a line of the log {number}")
        log.close()
    sizes = {each.name: each.stat().st_size for each in tmp_path.iterdir()}
    assert sizes.keys() == {"quickstart.log", "quickstart.log.1"}
    assert max(sizes.values()) <= 1000
    assert path(tmp_path).read_text().splitlines()[-1] == "a line of the log 99"


def test_a_full_disk_stops_nothing_and_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    os.symlink("/dev/full", path(tmp_path))
    log = LogFile(tmp_path)
    log.write("a line")
    log.close()
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_written_is_an_error_that_names_the_setting(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").write_text("a file, and no folder")
    with pytest.raises(ClassifierError, match="cannot write to .*data .*: set DATA_DIR to"):
        LogFile(tmp_path / "data")


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_line_of_the_launcher_is_lost_where_the_output_is_closed(tmp_path: Path) -> None:
    log = LogFile(tmp_path)
    screen = calm_screen(Closed(), log)
    screen.say("Starting")
    with pytest.raises(BrokenPipeError):
        screen.show("ready", "Ready")
    log.close()
    assert path(tmp_path).read_text().split() == [
        "quickstart",
        "|",
        "Starting",
        "ready",
        "|",
        "Ready",
    ]


@pytest.mark.parametrize(
    ("variables", "is_shown"),
    [({}, False), ({"LOG_LEVEL": "INFO"}, True), ({"LOG_FORMAT": "text"}, True)],
)
def test_a_user_who_sets_the_level_or_the_format_sees_every_line(
    variables: dict[str, str],
    is_shown: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    log = LogFile(tmp_path)
    screen_for(Settings(), programs(Settings()), log).show("web", "12:30:00 INFO web.app works")
    log.close()
    assert ("INFO web.app works" in capsys.readouterr().out) == is_shown

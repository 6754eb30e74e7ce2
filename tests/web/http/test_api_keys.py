"""The file of API keys: its lines, their fields, and the command that makes a line."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from shared.errors import InvalidRequest
from web.http.api_keys import ApiKey, ApiKeys, Limits, Scope, key as key_module, line, new_key
from web.http.api_keys.line import FIELDS

ROOT = Path(__file__).parents[3]
ALICE, BOB = new_key(), new_key()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def read(file: Path, *lines: str) -> ApiKeys:
    file.write_text("".join(f"{each}\n" for each in lines))
    return ApiKeys(file)


def test_a_line_without_fields_may_classify_without_limits(keys_file: Path) -> None:
    key = read(keys_file, line("alice", ALICE)).find(ALICE)
    assert key and key.scopes == {Scope.CLASSIFY} and key.limits == Limits(weight=1)
    assert key.expires is None and not key.expired


def test_a_line_says_scopes_expiry_and_limits(keys_file: Path) -> None:
    fields = (
        *("scopes=classify,operate", "expires=2027-01-31", "images=20000", "bytes=2GB"),
        *("images-per-day=100000", "weight=2"),
    )
    key = read(keys_file, line("alice", ALICE, *fields) + "  # until May").find(ALICE)
    assert key and key.name == "alice"
    assert key.scopes == {Scope.CLASSIFY, Scope.OPERATE}
    assert key.expires == date(2027, 1, 31)
    assert key.limits == Limits(images=20000, bytes=2 * 2**30, images_per_day=100000, weight=2)


def test_a_key_is_valid_on_its_last_day(monkeypatch: pytest.MonkeyPatch) -> None:
    key = ApiKey(name="alice", digest="", expires=date(2027, 1, 31))
    for day, expired in ((30, False), (31, False)):
        monkeypatch.setattr(key_module, "today", lambda day=day: date(2027, 1, day))
        assert key.expired is expired
    monkeypatch.setattr(key_module, "today", lambda: date(2027, 2, 1))
    assert key.expired


@pytest.mark.parametrize(
    "field, reason",
    [
        ("image=3", "not known.*`images`"),
        ("secret", "not known"),
        ("images=3 images=4", "`images` twice"),
        ("scopes=admin", "wrong value of `scopes`"),
        ("scopes=", "wrong value of `scopes`"),
        ("expires=31.01.2027", "wrong value of `expires`.*2027-01-31"),
        ("expires=20270131", "wrong value of `expires`"),
        ("expires=2027-02-30", "wrong value of `expires`"),
        ("images=-1", "wrong value of `images`"),
        ("images=1_000", "wrong value of `images`"),
        ("bytes=2TB", "wrong value of `bytes`.*`GB`"),
        ("images-per-day=many", "wrong value of `images-per-day`"),
        ("weight=0", "wrong value of `weight`.*1 to 1000"),
        ("weight=0.5", "wrong value of `weight`"),
        ("weight=1001", "wrong value of `weight`"),
    ],
)
def test_a_wrong_field_is_an_error_with_its_line(keys_file: Path, field: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=f"line 3 .*{reason}"):
        read(keys_file, line("bob", BOB), "", f"{line('alice', ALICE)} {field}")


def test_a_wrong_field_leaves_the_old_keys(
    keys_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = read(keys_file, line("alice", ALICE, "images=7"))
    keys_file.write_text(line("alice", ALICE, "images=7", "weigth=2"))
    key = keys.find(ALICE)
    assert key and key.limits.images == 7
    assert "line 1 has a field that is not known" in caplog.text


def test_two_keys_of_one_name_have_the_same_limits_and_may_differ_in_scopes(
    keys_file: Path,
) -> None:
    same = (line("alice", ALICE, "images=7"), line("alice", BOB, "images=7", "scopes=operate"))
    assert read(keys_file, *same).limits() == {"alice": Limits(images=7)}
    with pytest.raises(InvalidRequest, match="line 2 gives `alice` other limits than line 1"):
        read(keys_file, line("alice", ALICE, "images=7"), line("alice", BOB))


def test_the_limits_follow_a_change_of_the_file(keys_file: Path) -> None:
    keys = read(keys_file, line("alice", ALICE, "images=7"))
    keys_file.write_text(line("alice", ALICE, "images=80", "weight=3"))
    assert keys.limits() == {"alice": Limits(images=80, weight=3)}


def test_a_malformed_file_stops_the_start_and_is_not_quoted(keys_file: Path) -> None:
    for wrong in (f"alice:{ALICE}", f"{line('alice', ALICE)} {ALICE}=2"):
        with pytest.raises(InvalidRequest, match="line 1") as raised:
            read(keys_file, wrong)
        assert ALICE not in str(raised.value)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "web.http.api_keys", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_command_makes_a_key_that_works(keys_file: Path) -> None:
    made = make("carol", "--scopes=classify,operate", "--images-per-day=500", "--weight", "2")
    keys = read(keys_file, made.stdout.strip())
    text = made.stderr.rpartition(": ")[2].strip()
    key = keys.find(text)
    assert key and (key.name, key.scopes) == ("carol", {Scope.CLASSIFY, Scope.OPERATE})
    assert key.limits == Limits(images_per_day=500, weight=2)
    assert text not in made.stdout


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["two words"], "'two words' is not a name"),
        (["carol", "--expires=soon"], "'soon' is not the last day of the key"),
        (["carol", "--weight=0"], "from 1 to 1000"),
    ],
)
def test_the_command_makes_no_line_that_the_service_refuses(
    arguments: list[str], reason: str
) -> None:
    made = make(*arguments)
    assert (made.returncode, made.stdout) == (2, "")
    assert reason in made.stderr


def test_the_documents_show_a_valid_line_and_all_fields(keys_file: Path) -> None:
    text = (ROOT / "docs/settings.md").read_text()
    [example] = re.findall(r"^    alice:<sha256> (.*)$", text, re.MULTILINE)
    keys = read(keys_file, line("alice", ALICE, *example.split()))
    assert keys.limits()["alice"].images == 20000
    table = text.partition("| field | without it | means |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE) == list(FIELDS)

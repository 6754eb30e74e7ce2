"""A run that sent nothing leaves no new table, and what it advises works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.cli.exits import Exit
from tests.client.scripted_server import Answer, Cut, ScriptedServer, refusal
from tests.client.upload.conftest import Jobs, Upload

_WRONG_KEY = refusal(401, "not_authenticated", "The API key is missing or not valid.")


def files(folder: Path) -> set[str]:
    return {each.name for each in folder.parent.iterdir() if each != folder}


@pytest.mark.parametrize("call", ["usage", "open"])
def test_a_wrong_key_leaves_no_table_and_the_same_command_works_with_the_right_one(
    server: ScriptedServer,
    folder: Path,
    jobs: Jobs,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    any_table: str,
    call: str,
) -> None:
    upload = Upload(server, folder, capsys, any_table)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, call, lambda *_: _WRONG_KEY)
        status, out, err = upload()
    assert (status, out, len(err.splitlines())) == (Exit.SERVICE, "", 1)
    assert "IMAGE_CLASSIFIER_API_KEY" in err and "--resume" not in err
    assert files(folder) == set()
    assert upload.json("--top-k", "3")[1]["pictures"] == 3


@pytest.mark.parametrize("option", ["--resume", "--overwrite", "--retry-failed"])
def test_a_wrong_key_leaves_an_earlier_table_as_it_is(
    upload: Upload, folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    upload()
    (folder / "d.jpg").write_text("picture d")
    before = upload.table.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "usage", lambda: _WRONG_KEY)
        assert upload(option)[0] == Exit.SERVICE
    with monkeypatch.context() as patch:  # the key expires a moment later
        patch.setattr(jobs, "open", lambda *_: _WRONG_KEY)
        status, _, err = upload("--resume")
    assert status == Exit.SERVICE and "Continue with --resume." in err
    assert upload.table.read_bytes() == before
    assert upload.json("--resume")[1]["pictures"] == 4


def test_an_upload_that_lost_the_service_after_some_pictures_keeps_its_table(
    upload: Upload, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "put", lambda *_: _WRONG_KEY)
        status, _, err = upload()
    assert status == Exit.SERVICE and "Continue with --resume." in err
    assert upload.json("--resume")[1]["pictures"] == 3


def test_the_advice_for_a_folder_without_pictures_works(upload: Upload, folder: Path) -> None:
    """The table without rows is begun again, also with other options."""
    (folder / "inside").mkdir()
    for each in folder.glob("*.jpg"):
        each.rename(folder / "inside" / each.name)
    assert "--recursive reads the folders inside" in upload()[2]
    assert upload.rows() == []
    assert upload.json("--recursive", "--top-k", "2")[1]["pictures"] == 3


def test_a_table_of_another_program_is_not_begun_again(upload: Upload, folder: Path) -> None:
    upload("--include", "*.bmp")
    upload.table.write_text("path\nmine\n")
    status, _, err = upload()
    assert status == Exit.USAGE and "exists. Give --resume" in err
    assert upload.table.read_text() == "path\nmine\n"


def test_the_message_names_the_file_that_is_in_the_way(upload: Upload) -> None:
    """An upload that was killed before its first row leaves only its journal."""
    upload()
    upload.table.unlink()
    status, _, err = upload()
    assert status == Exit.USAGE
    assert f"{upload.table.name}.journal exists. Give --resume" in err


def test_a_request_that_is_cut_off_before_the_first_picture_leaves_no_table(
    upload: Upload, folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "open", lambda *_: Cut())
        status, _, err = upload("--patience", "0")
    assert status == Exit.SERVICE and "No picture was sent, and no table was made." in err
    assert files(folder) == set()


def test_a_service_of_an_earlier_release_has_no_usage(
    upload: Upload, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "usage", lambda: Answer(404, {"code": "not_found"}))
    assert upload.json()[1]["pictures"] == 3

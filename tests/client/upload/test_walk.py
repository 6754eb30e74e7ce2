"""Every picture of a folder is found once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from client.upload.plan import path_key
from client.upload.skipped import INNER_FOLDER, NO_PICTURE, Skipped, skipped_line
from client.upload.walk import Walk


def walked(folder: Path, **options: object) -> tuple[list[str], dict[str, str]]:
    """The paths, and the reasons of the skipped ones."""
    skipped: dict[str, str] = {}
    walk = Walk(folder=str(folder), **options)  # type: ignore[arg-type]
    paths = list(walk.files(skipped.__setitem__))
    assert walk.count() == len(paths) + sum(why == "not a regular file" for why in skipped.values())
    return paths, {
        path: why for path, why in skipped.items() if why not in (NO_PICTURE, INNER_FOLDER)
    }


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_pictures_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a.PNG", "c.tiff", "notes.txt", ".hidden.jpg", "d/e.jpg")
    assert walked(tmp_path)[0] == ["a.PNG", "b.jpg", "c.tiff"]


def test_files_of_earlier_runs_are_counted_apart(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d/e.jpg")
    earlier = {path_key(path) for path in ("a.jpg", "d/e.jpg")}
    assert Walk(folder=str(tmp_path)).count(besides=earlier) == 2


def test_inner_folders_are_read_when_asked(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a/z.jpg", "a/b/c.jpg", ".git/x.jpg")
    assert walked(tmp_path, recursive=True)[0] == ["a/b/c.jpg", "a/z.jpg", "b.jpg"]


def test_a_pattern_with_a_slash_is_for_the_path_and_any_other_for_the_name(tmp_path: Path) -> None:
    fill(tmp_path, "raw/a.jpg", "raw/b.jpg", "done/a.jpg", "c.dat")
    assert walked(tmp_path, recursive=True, include=["RAW/*"])[0] == ["raw/a.jpg", "raw/b.jpg"]
    assert walked(tmp_path, recursive=True, exclude=["a.*"])[0] == ["raw/b.jpg"]
    assert walked(tmp_path, recursive=True, exclude=["raw"])[0] == ["done/a.jpg"]
    assert walked(tmp_path, include=["*"])[0] == ["c.dat"]


def test_links_in_a_circle_are_followed_once_and_reported(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    paths, skipped = walked(tmp_path, recursive=True)
    assert paths == ["a/x.jpg"]
    assert set(skipped) == {"a/again", "b"}


def test_a_link_to_another_folder_is_followed(tmp_path: Path) -> None:
    fill(tmp_path, "elsewhere/x.jpg", "here/y.jpg")
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "elsewhere")
    assert walked(tmp_path / "here", recursive=True)[0] == ["linked/x.jpg", "y.jpg"]


def test_a_broken_link_counts_as_a_picture(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert walked(tmp_path)[0] == ["gone.jpg"]


def test_a_pipe_is_skipped_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert walked(tmp_path) == ([], {"pipe.jpg": "not a regular file"})


def test_long_names_and_names_that_are_not_utf_8_are_walked(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", "Füße 写真.jpg".encode(), b"n" * 251 + b".jpg", b"two\nlines.jpg"]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
    assert {os.fsencode(path) for path in walked(tmp_path)[0]} == set(names)


def test_folders_deeper_than_the_stack_of_python_are_read(tmp_path: Path) -> None:
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        Path("deep.jpg").touch()
        assert walked(tmp_path, recursive=True)[0] == ["d/" * 1500 + "deep.jpg"]
    finally:
        os.chdir(here)
        # pytest would remove it by recursion, three runs later, and fail.
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        walked(tmp_path / "nowhere")


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path) -> None:
    others = ["a.txt", "b.TXT", "film.mp4", "README", ".hidden.jpg", "._a.jpg"]
    fill(tmp_path, "a.jpg", "b.HEIC", "c.jfif", "d.mpo", *others)
    fill(tmp_path, ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._a.jpg", "inner/x.jpg")
    reported: list[str] = []
    skipped = Skipped(lambda path, why: reported.append(path), show=False)
    walk = Walk(folder=str(tmp_path))
    assert list(walk.files(skipped)) == ["a.jpg", "b.HEIC", "c.jfif", "d.mpo"]
    assert list(walk.files(skipped)), "a folder is walked again when watching"
    kinds = {".txt": 2, ".mp4": 1, "without an ending": 1, "folders inside": 1}
    assert (skipped.kinds, reported) == (kinds, [])
    assert skipped_line(skipped.kinds) == (
        "5 skipped: 2 .txt, 1 .mp4, 1 folder inside, 1 without an ending;"
        " list them with --show-skipped"
    )


def test_every_skipped_file_is_listed_when_asked(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a.txt", "b/c.mp4", ".DS_Store")
    reported: dict[str, str] = {}
    skipped = Skipped(reported.__setitem__, show=True)
    assert list(Walk(folder=str(tmp_path), recursive=True).files(skipped)) == ["a.jpg"]
    assert reported == {"a.txt": NO_PICTURE, "b/c.mp4": NO_PICTURE}


def test_what_the_user_excludes_is_not_counted(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.jpg", "c.txt", "old/d.jpg")
    skipped = Skipped(lambda path, why: None, show=False)
    walk = Walk(folder=str(tmp_path), exclude=["b.*", "*.txt", "old"])
    assert list(walk.files(skipped)) == ["a.jpg"]
    assert not skipped.kinds

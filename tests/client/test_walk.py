"""Every picture of a folder once, whatever else is in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from client.upload.walk import Walk


def found(folder: Path, **options: object) -> tuple[list[str], dict[str, str]]:
    """Paths, and what was left out."""
    left: dict[str, str] = {}
    walk = Walk(folder=str(folder), **options)  # type: ignore[arg-type]
    paths = list(walk.files(left.__setitem__))
    assert walk.count() == len(paths) + sum(why == "not a file" for why in left.values())
    return paths, left


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_pictures_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a.PNG", "c.tiff", "notes.txt", ".hidden.jpg", "d/e.jpg")
    assert found(tmp_path)[0] == ["a.PNG", "b.jpg", "c.tiff"]


def test_folders_inside_are_read_where_asked(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a/z.jpg", "a/b/c.jpg", ".git/x.jpg")
    assert found(tmp_path, recursive=True)[0] == ["a/b/c.jpg", "a/z.jpg", "b.jpg"]


def test_patterns_with_a_slash_are_of_the_path_and_others_of_the_name(tmp_path: Path) -> None:
    fill(tmp_path, "raw/a.jpg", "raw/b.jpg", "done/a.jpg", "c.dat")
    assert found(tmp_path, recursive=True, include=["RAW/*"])[0] == ["raw/a.jpg", "raw/b.jpg"]
    assert found(tmp_path, recursive=True, exclude=["a.*"])[0] == ["raw/b.jpg"]
    assert found(tmp_path, recursive=True, exclude=["raw"])[0] == ["done/a.jpg"]
    assert found(tmp_path, include=["*"])[0] == ["c.dat"]


def test_links_in_a_circle_are_followed_once_and_told(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    paths, left = found(tmp_path, recursive=True)
    assert paths == ["a/x.jpg"]
    assert set(left) == {"a/again", "b"}


def test_a_folder_outside_is_reached_by_a_link(tmp_path: Path) -> None:
    fill(tmp_path, "elsewhere/x.jpg", "here/y.jpg")
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "here", recursive=True)[0] == ["linked/x.jpg", "y.jpg"]


def test_a_broken_link_is_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert found(tmp_path)[0] == ["gone.jpg"]


def test_a_pipe_is_left_out_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert found(tmp_path) == ([], {"pipe.jpg": "not a file"})


def test_names_that_are_no_text_and_long_ones_are_found(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", "Füße 写真.jpg".encode(), b"n" * 251 + b".jpg", b"two\nlines.jpg"]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
    assert {os.fsencode(path) for path in found(tmp_path)[0]} == set(names)


def test_folders_deeper_than_python_s_stack_are_read(tmp_path: Path) -> None:
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        Path("deep.jpg").touch()
        assert found(tmp_path, recursive=True)[0] == ["d/" * 1500 + "deep.jpg"]
    finally:
        os.chdir(here)
        # Three runs later pytest removes the folders of this one by recursion, and would end on it.
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        found(tmp_path / "nowhere")

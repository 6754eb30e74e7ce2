"""A picture is a path, bytes, a file or an image of Pillow."""

from __future__ import annotations

import io
import os
import pty
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from client import ImageClassifier, Item, errors
from client.api import pictures
from client.cli.command import main
from client.cli.exits import Exit
from client.regular_file import RegularFile
from client.upload.planner import Planner
from client.upload.walk import Walk
from tests.client.scripted_jobs import ScriptedJobs
from tests.client.scripted_server import scripted_server


def image(mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (3, 2))


def test_a_path_and_an_open_file_have_their_name(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"cat")
    assert pictures.read(path) == pictures.read(str(path)) == ("cat.jpg", b"cat")
    with path.open("rb") as file:
        assert pictures.read(file) == ("cat.jpg", b"cat")


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, io.BytesIO])
def test_bytes_have_no_name(form: Any) -> None:
    assert pictures.read(form(b"cat")) == ("picture", b"cat")


@pytest.mark.parametrize(
    "mode", ["RGB", "RGBA", "L", "1", "P", "I;16", "CMYK", "YCbCr", "HSV", "F"]
)
def test_an_image_of_pillow_becomes_a_png(mode: str) -> None:
    name, data = pictures.read(image(mode))
    sent = Image.open(io.BytesIO(data))
    assert (name, sent.format, sent.size) == ("picture", "PNG", (3, 2))


def test_an_image_of_pillow_keeps_its_pixels_its_name_and_its_orientation(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.effect_noise((30, 20), 50).convert("RGB").save(path, exif=exif)
    with Image.open(path) as opened:
        name, data = pictures.read(opened)
        sent = Image.open(io.BytesIO(data))
        assert name == "cat.jpg"
        assert sent.tobytes() == opened.tobytes()
        assert sent.getexif()[0x0112] == 6


@pytest.mark.parametrize("wrong", [None, 7, io.StringIO("text"), ["cat.jpg"]])
def test_anything_else_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        pictures.read(wrong)


def test_all_forms_are_submitted_together(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    forms = [tmp_path / "a.jpg", b"b", io.BytesIO(b"c"), image()]
    jobs = ScriptedJobs()
    with scripted_server(jobs) as server, ImageClassifier(server.url) as service:
        job = service.submit(forms)
        assert [item.label for item in job.results()] == ["tabby"] * 4
    assert len(set(jobs.digests)) == 4


@pytest.mark.parametrize(
    "one", ["cat.jpg", Path("cat.jpg"), b"cat", io.BytesIO(b"c\nat"), image()], ids=type
)
def test_a_single_picture_is_no_list_of_pictures(one: Any) -> None:
    """A text would be read as paths of one letter, and a file as one picture for each line."""
    jobs = ScriptedJobs()
    with scripted_server(jobs) as server, ImageClassifier(server.url) as service:
        with pytest.raises(TypeError, match=r"Write submit\(\[picture\]\), or call `classify`\."):
            service.submit(one)
    assert not jobs.digests


def test_no_pictures_are_refused_before_anything_is_sent() -> None:
    with scripted_server(ScriptedJobs()) as server, ImageClassifier(server.url) as service:
        with pytest.raises(errors.UsageError, match="Give at least one"):
            service.submit([])


def test_an_item_without_predictions_has_no_label() -> None:
    assert Item(index=0, name="a", state="queued").label == ""
    tabby = {"class_id": 281, "class_name": "tabby", "probability": 0.5}
    found: dict[str, Any] = {"index": 0, "name": "a", "state": "succeeded", "predictions": [tabby]}
    assert Item.of(found).label == "tabby"  # a service of an earlier release says no more
    assert Item.of(found | {"label": "tabby", "below_threshold": False}).label == "tabby"
    unsure = Item.of(found | {"label": None, "below_threshold": True})
    assert (unsure.label, unsure.below_threshold) == ("", True)
    assert unsure.predictions[0].class_name == "tabby"
    assert (unsure.labels, Item.of(found).labels) == ((), ("tabby",))
    several = Item.of(found | {"label": "tabby", "labels": ["tabby", "owl"]})
    assert (several.label, several.labels) == ("tabby", ("tabby", "owl"))


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Nobody writes into it, so that opening it as a file would wait for ever."""
    os.mkfifo(tmp_path / "pipe.jpg")
    return tmp_path / "pipe.jpg"


@pytest.mark.parametrize("call", ["classify", "submit"])
def test_a_pipe_is_not_waited_for(call: str, pipe: Path) -> None:
    with ImageClassifier("http://127.0.0.1:1") as service:
        with pytest.raises(OSError, match="It is a pipe, not a file"):
            service.classify(pipe) if call == "classify" else service.submit([pipe])


def test_the_command_says_how_to_classify_what_a_pipe_gives(pipe: Path, capsys: Any) -> None:
    assert main(["classify", str(pipe)]) == Exit.USAGE
    assert f"image-classifier classify - < {pipe}" in capsys.readouterr().err


def test_a_picture_is_not_read_from_a_terminal(monkeypatch: Any, capsys: Any) -> None:
    ours, terminal = pty.openpty()
    with open(terminal) as typed:
        monkeypatch.setattr("sys.stdin", typed)
        assert main(["classify", "-"]) == Exit.USAGE
    os.close(ours)
    assert "Standard input is a terminal" in capsys.readouterr().err


def test_a_file_that_has_nothing_now_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /proc/kmsg, which only root can read: it looks like a file, and waits for messages."""
    (tmp_path / "a.jpg").touch()
    reading, writing = os.pipe2(os.O_NONBLOCK)
    monkeypatch.setattr("client.regular_file.os.open", lambda *_: reading)
    file = RegularFile(tmp_path / "a.jpg")
    with file, pytest.raises(BlockingIOError, match="Reading it would wait"):
        file.read(1)
    os.close(writing)


@pytest.mark.skipif(not os.access("/proc/kmsg", os.R_OK), reason="only root reads /proc/kmsg")
def test_an_upload_does_not_wait_for_a_message_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("/proc/kmsg")
    walk = Walk(folder=str(tmp_path), recursive=False)
    [plan] = Planner(walk=walk, on_skip=lambda *_: None, threads=1).plans()
    [file] = plan.files
    assert file.error and file.error[0] == "unreadable_file"


@pytest.mark.parametrize("opened", [False, True])
def test_a_picture_without_an_end_is_not_read(
    opened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 10_000)
    match = "File too large" if opened else "It is a device, not a file"
    with open("/dev/zero", "rb") as endless, pytest.raises(OSError, match=match):
        pictures.read(endless if opened else "/dev/zero")

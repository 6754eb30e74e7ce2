"""One uploaded picture: what it is checked for, its name and its digest."""

from __future__ import annotations

import hashlib
import io
import json
import random

import pytest
from werkzeug.datastructures import FileStorage, MultiDict

from shared.errors import EmptyFile, ImageTooLarge, UnsupportedFormat
from shared.jobs import ItemState, Outcome
from web.intake.parts import read_part
from web.intake.uploads import Upload, digest, fault, new_items, no_picture, pieces, read_upload


def read(data: bytes, name: str = "a") -> Upload:
    return read_upload(name, data, max_bytes=100)


@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*"]
)
def test_allowed_formats_pass_by_content(head: bytes) -> None:
    assert read(head + b"...").error is None


def test_webp_passes_and_other_riff_files_do_not() -> None:
    assert read(b"RIFF1234WEBPVP8 ").error is None
    assert isinstance(read(b"RIFF1234WAVEfmt ").error, UnsupportedFormat)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyFile),
        (b"\xff\xd8\xff" + bytes(100), ImageTooLarge),
        (b"this is text", UnsupportedFormat),
    ],
)
def test_each_fault_has_its_own_error(data: bytes, error: type[Exception]) -> None:
    assert type(read(data).error) is error


def test_an_archive_among_pictures_is_told_where_to_go() -> None:
    error = read(b"PK\x03\x04" + bytes(50)).error
    assert isinstance(error, UnsupportedFormat)
    assert "Send it to POST /jobs, as the only file." in str(error)


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot 2024-05-01 at 10.30.00\u202fAM.png",
        "v\u00a013.05.05.png",
        "写真\u3000001.jpg",
        "می\u200cخواهم.jpg",
        "👩\u200d👩\u200d👧.jpg",
        "e\u0301\ufeff\u00ad\ue000 .jpg",
    ],
)
def test_a_name_comes_back_as_it_was_sent(name: str) -> None:
    assert read(b"data", name=name).name == name


def test_harmful_characters_of_a_name_are_replaced_and_it_is_bounded() -> None:
    upload = read(b"data", name="a\r\nSet-Cookie: x\x1b[2J" + "é" * 600)
    assert upload.name == "é" * 512
    for harmful in "\r\n\x00\x1b\x7f\x85\u2028\u202e\u2066\u061c\u200f\ud800\udcfc":
        assert read(b"data", name=f"a{harmful}b").name == "a\ufffdb"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("\n=1+1", "=1+1"),
        ("a\r\n=LINK(1)", "a=LINK(1)"),
        ("\x1b]0;evil\x07", "]0;evil"),
        ("\u202egpj.exe", "gpj.exe"),
        ("Füße \u200d 写真", "Füße \u200d 写真"),
        ("", ""),
        (None, None),
    ],
)
def test_harmful_characters_leave_a_custom_id(sent: str | None, kept: str | None) -> None:
    assert read_upload("a", b"x", max_bytes=9, custom_id=sent).custom_id == kept
    entries = json.dumps([{"name": "a", "custom_id": sent}])
    picture = FileStorage(io.BytesIO(b"x"), "a")
    files = MultiDict([("files", picture)])
    [upload] = read_part({"items": entries}, files, items=1, max_bytes=9)
    assert upload.custom_id == kept
    entries = json.dumps([{"name": "a", "custom_id": sent, "digest": "0" * 64}])
    [named] = read_part({"items": entries}, MultiDict(), items=1, max_bytes=9)
    assert named.custom_id == kept


def test_the_digest_and_the_size_are_of_the_bytes() -> None:
    upload = read(b"x")
    assert (upload.digest, upload.size) == (hashlib.sha256(b"x").hexdigest(), 1)


def test_a_picture_with_an_outcome_is_not_read_for_the_records() -> None:
    def never() -> bytes:
        raise AssertionError("it was read")

    known = Upload(name="a", digest="d", size=1, read=never)
    waiting = Upload(name="b", digest="e", size=1, read=lambda: b"x", custom_id="mine")
    outcome = Outcome(state=ItemState.SUCCEEDED)
    first, second = new_items([known, waiting], [outcome, None])
    assert (first.data, first.outcome) == (b"", outcome)
    assert (second.name, second.data, second.custom_id) == ("b", b"x", "mine")


@pytest.mark.parametrize(
    ("field", "sent", "message"),
    [
        ("file", ["image"], "Send the picture in the field `file`; the form had `image`."),
        ("files", ["b", "a"], "Send the pictures in the field `files`; the form had `a`, `b`."),
        ("files", [], "Send the pictures in the field `files`; the form had no fields."),
        (
            "file",
            ["file"],
            "The field `file` has text instead of a file. With curl, write `-F file=@picture.jpg`.",
        ),
        ("file", ["a\n"], "Send the picture in the field `file`; the form had `a\ufffd`."),
    ],
)
def test_a_form_without_a_picture_is_told_what_to_send(
    field: str, sent: list[str], message: str
) -> None:
    assert str(no_picture(field, sent)) == message


@pytest.mark.parametrize(
    ("size", "most", "text"),
    [
        (20 * 2**20 + 1, 20 * 2**20, "20.1 MB; 20 MB"),
        (31_000_000, 20 * 2**20, "29.6 MB; 20 MB"),
        (3_000, 2_048, "3 KB; 2 KB"),
        (12, 10, "12 bytes; 10 bytes"),
    ],
)
def test_a_refusal_has_sizes_that_people_read_and_the_setting(
    size: int, most: int, text: str
) -> None:
    refusal = fault(b"", size, max_bytes=most)
    assert str(refusal) == f"The file has {text} are allowed (MAX_IMAGE_BYTES)."


def test_a_large_picture_is_hashed_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[None] = []
    monkeypatch.setattr("web.intake.uploads.let_others_run", lambda: waits.append(None))
    data = random.Random(1).randbytes(3 * 2**20 + 5)
    upload = read_upload("photo.jpg", data, max_bytes=2**30)
    assert (upload.digest, len(waits)) == (hashlib.sha256(data).hexdigest(), 3)
    waits.clear()
    assert (digest(pieces(io.BytesIO(data))), len(waits)) == (upload.digest, 3)

from __future__ import annotations

import pytest

from shared.errors import EmptyFile, ImageTooLarge, UnsupportedFormat
from web.intake.uploads import check, read_upload


@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*"]
)
def test_allowed_formats_pass_by_content(head: bytes) -> None:
    check(head + b"...", max_bytes=100)


def test_webp_passes_and_other_riff_files_do_not() -> None:
    check(b"RIFF1234WEBPVP8 ", max_bytes=100)
    with pytest.raises(UnsupportedFormat):
        check(b"RIFF1234WAVEfmt ", max_bytes=100)


def test_refusals_have_their_own_errors() -> None:
    with pytest.raises(EmptyFile):
        check(b"", max_bytes=100)
    with pytest.raises(ImageTooLarge):
        check(b"\xff\xd8\xff" + bytes(100), max_bytes=100)
    with pytest.raises(UnsupportedFormat):
        check(b"this is text", max_bytes=100)


def test_a_hostile_name_is_made_harmless() -> None:
    upload = read_upload("a\r\nSet-Cookie: x\x1b[2J" + "é" * 600, b"data")
    assert upload.name.isprintable()
    assert len(upload.name) == 512


def test_the_digest_is_of_the_bytes() -> None:
    assert read_upload("a", b"x").digest == read_upload("b", b"x").digest
    assert read_upload("a", b"x").digest != read_upload("a", b"y").digest

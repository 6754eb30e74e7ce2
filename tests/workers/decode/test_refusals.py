"""A picture that cannot be decoded, or is too large, is refused with its code."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from shared.errors import ClassifierError
from tests.workers.decode.preset import PRESET
from tests.workers.decode.test_preprocessing import FORMATS, crop, drawing, encoded
from workers.decode.preprocessing import decode


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG with any size in its header."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def code(data: bytes, max_pixels: int = 50_000_000) -> str:
    with pytest.raises(ClassifierError) as raised:
        decode(data, PRESET, max_pixels=max_pixels)
    assert str(raised.value)
    return raised.value.code


@pytest.mark.parametrize("form", FORMATS)
def test_half_a_picture_is_truncated(form: str) -> None:
    data = encoded(drawing(120, 90), form)
    assert code(data[: len(data) // 2]) == "truncated_image"


def test_a_jpeg_without_its_last_rows_is_truncated() -> None:
    data = encoded(drawing(600, 500), "JPEG")
    assert code(data[:-400]) == "truncated_image"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty_file"),
        (b"\0", "unsupported_format"),
        (b"This is text, whatever its name says.", "unsupported_format"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format"),
        (encoded(drawing(32, 32), "ICO"), "unsupported_format"),
        (encoded(drawing(32, 32), "PPM"), "unsupported_format"),
        (encoded(drawing(32, 32), "JPEG2000"), "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n" + 40 * b"\0", "decode_failed"),
        (png_of(0, 0), "decode_failed"),
        (png_of(8, 8, b"no zlib stream"), "decode_failed"),
        (encoded(drawing(64, 64), "TIFF", compression="jpeg")[:-9], "decode_failed"),
    ],
)
def test_every_refusal_has_its_code(data: bytes, expected: str) -> None:
    assert code(data) == expected


def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Image.Image) -> None:
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    assert code(png_of(7_001, 7_143)) == "too_many_pixels"
    assert code(png_of(60_000, 60_000)) == "too_many_pixels"
    # Pillow's own limit of 179 million pixels still applies.
    assert code(png_of(60_000, 60_000), max_pixels=10**12) == "too_many_pixels"
    assert code(encoded(drawing(101, 100)), max_pixels=10_000) == "too_many_pixels"


def test_a_large_jpeg_counts_with_the_pixels_that_are_decoded() -> None:
    """Cameras have 60 megapixels, and panoramas more than Pillow's own limit of 179."""
    gray = drawing(300, 250).convert("L")
    for size in ((9_000, 7_000), (60_000, 3_100)):
        data = encoded(gray.resize(size), "JPEG", quality=95)
        wanted = crop(encoded(gray.resize((size[0] // 8, size[1] // 8))))
        assert np.abs(crop(data) - wanted).mean() < 2
        assert code(data, max_pixels=size[0] * size[1] // 64 - 1) == "too_many_pixels"


def test_a_refusal_names_megapixels_and_the_setting() -> None:
    with pytest.raises(ClassifierError) as raised:
        decode(png_of(7_001, 7_143), PRESET, max_pixels=50_000_000)
    assert str(raised.value) == (
        "The picture has 50.1 megapixels (7001 x 7143); 50 are allowed (MAX_IMAGE_PIXELS)."
    )


def test_below_pillows_own_limit_only_the_setting_applies() -> None:
    assert code(png_of(10_000, 10_000), max_pixels=10**8) in ("decode_failed", "truncated_image")


def test_any_damage_raises_one_of_our_errors() -> None:
    random = np.random.default_rng(0)
    whole = [encoded(drawing(60, 45), form) for form in FORMATS]
    for _ in range(600):
        data = bytearray(whole[random.integers(len(whole))])
        # Damage in a header has the most varied effects.
        for place in random.integers(0, random.choice([60, len(data)]), 3):
            data[place] = random.integers(256)
        try:
            crop(bytes(data))
        except ClassifierError as error:
            assert error.code != "internal_error"

"""What phones and cameras write beside a plain picture: other pictures, films, and more bits."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.workers.decode.test_preprocessing import crop, drawing, encoded
from tests.workers.decode.test_refusals import code
from workers.decode import opening

assert opening  # It registers HEIC in Pillow.

PICTURE = drawing(300, 260)
OTHER = PICTURE.rotate(180)
LYING = PICTURE.transpose(Image.Transpose.ROTATE_90)

#: How the header of a JPEG's usual frame begins, and those of other kinds: marker, length, bits.
USUAL = b"\xff\xc0\0\x11\x08"
NOT_READ = {
    "12 bits": b"\xff\xc1\0\x11\x0c",
    "lossless": b"\xff\xc3\0\x11\x08",
    "hierarchical": b"\xff\xc5\0\x11\x08",
    "JPEG-LS": b"\xff\xf7\0\x11\x08",
}


def held(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def heic_of_10_bits() -> bytes:
    values = np.asarray(PICTURE).astype(np.uint16) * 257
    buffer = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", PICTURE.size, values.tobytes()).save(buffer, quality=90)
    return buffer.getvalue()


WRITTEN: dict[str, Callable[[], bytes]] = {
    "HEIC of 10 bits": heic_of_10_bits,
    "HEIC with another picture before its main one": lambda: encoded(
        OTHER, "HEIF", quality=90, save_all=True, append_images=[PICTURE], primary_index=1
    ),
    "burst in an MPO, held upright": lambda: encoded(
        LYING, "MPO", quality=95, exif=held(6), save_all=True, append_images=[OTHER, OTHER]
    ),
    "film behind a JPEG": lambda: encoded(PICTURE, "JPEG", quality=95)
    + b"\0\0\0\x18ftypmp42" * 20_000
    + b"MotionPhoto_DataSEFT",
    "JPEG behind a JPEG": lambda: encoded(PICTURE, "JPEG", quality=95) + encoded(OTHER, "JPEG"),
    "JPEG for print": lambda: encoded(PICTURE.convert("CMYK"), "JPEG", quality=95),
    "JPEG of RGB": lambda: encoded(PICTURE, "JPEG", quality=95, keep_rgb=True),
    "JPEG with few colours": lambda: encoded(PICTURE, "JPEG", quality=95, subsampling="4:1:1"),
    "progressive JPEG": lambda: encoded(PICTURE, "JPEG", quality=95, progressive=True),
    "film in AVIF": lambda: encoded(
        PICTURE, "AVIF", quality=95, speed=10, save_all=True, append_images=[OTHER]
    ),
    "film in WebP": lambda: encoded(
        PICTURE, "WEBP", quality=95, save_all=True, append_images=[OTHER]
    ),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_the_picture_is_the_one_that_a_viewer_shows(how: str) -> None:
    difference = np.abs(crop(WRITTEN[how]()) - crop(encoded(PICTURE)))
    assert difference.mean() < 4


@pytest.mark.parametrize("kind", NOT_READ)
def test_a_jpeg_of_a_kind_that_is_not_read_is_an_error(kind: str) -> None:
    data = encoded(PICTURE, "JPEG")
    assert data.count(USUAL) == 1
    assert code(data.replace(USUAL, NOT_READ[kind])) == "decode_failed"


@pytest.mark.parametrize("head", [b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl "])
def test_jpeg_xl_is_refused_as_a_format_that_is_not_read(head: bytes) -> None:
    assert code(head.ljust(500, b"\1")) == "unsupported_format"

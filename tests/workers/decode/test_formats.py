"""The one list of formats holds in every part of the project."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from client.upload.walk import PICTURES
from shared import formats
from shared.errors import DecodeFailed, UnsupportedFormat
from shared.formats import FORMATS, HEAD_BYTES, recognised
from tests.workers.decode.dng import dng
from tests.workers.decode.preset import PRESET
from tests.workers.decode.test_preprocessing import HELD, crop, drawing, encoded
from workers.decode import opening
from workers.decode.preprocessing import decode

DOCS = Path(__file__).parents[3] / "docs"


def written(name: str, picture: Image.Image, **options: object) -> bytes:
    """The picture in a format of the list."""
    plugin = {"HEIC": "HEIF", "WebP": "WEBP"}.get(name, name)
    if name == "RAW":
        return dng(picture, **options)  # type: ignore[arg-type]
    return encoded(picture, plugin, **options)


@pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)
def test_every_format_is_recognised_and_decoded(each: formats.Format) -> None:
    data = written(each.name, drawing(300, 260))
    assert formats.recognised(data[:HEAD_BYTES])
    difference = np.abs(crop(data) - crop(encoded(drawing(300, 260))))
    assert difference.mean() < (12 if each is formats.GIF else 3)


def test_the_client_looks_for_every_ending() -> None:
    assert PICTURES == tuple(f"*{ending}" for ending in formats.ENDINGS)


def test_the_documentation_lists_every_format() -> None:
    rows = re.findall(r"^\| ([\w ]+) \| (`\.[^|]*`) \|", (DOCS / "formats.md").read_text(), re.M)
    assert {name: tuple(re.findall(r"`(\.\w+)`", endings)) for name, endings in rows} == {
        each.name: each.endings for each in FORMATS
    }


def test_the_refusal_names_every_format() -> None:
    assert all(each.name in str(UnsupportedFormat()) for each in FORMATS)


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"mif1\0\0\0\0mif1miafheic", "HEIC"),
        (b"mif1\0\0\0\0mif1avif", "AVIF"),
        (b"crx \0\0\0\1crx isom", "RAW"),
        (b"isom\0\0\0\0mp42", None),
        (b"mif1\0\0\0\0mif1", None),
    ],
)
def test_a_container_is_recognised_by_its_brands(brands: bytes, name: str | None) -> None:
    head = (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands + b"heicavif"
    form = recognised(head)
    assert (form and form.name) == name


def test_big_tiff_is_read() -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.asarray(drawing(300, 260)), bigtiff=True, photometric="rgb")
    data = buffer.getvalue()
    assert formats.recognised(data[:HEAD_BYTES])
    assert np.array_equal(crop(data), crop(encoded(drawing(300, 260))))


@pytest.mark.parametrize("orientation", HELD)
def test_a_heic_is_turned_once_although_two_places_say_how(orientation: int) -> None:
    upright, exif = drawing(300, 260), Image.Exif()
    exif[0x0112] = orientation
    lying = upright.transpose(HELD[orientation])
    data = written("HEIC", lying, exif=exif.tobytes())
    assert b"irot" in data or b"imir" in data, "the container says it, as that of a phone does"
    assert np.abs(crop(data) - crop(encoded(upright))).mean() < 3


@pytest.mark.parametrize("orientation", HELD)
def test_the_preview_of_a_raw_picture_is_made_upright(orientation: int) -> None:
    upright = drawing(400, 300)
    data = written("RAW", upright.transpose(HELD[orientation]), orientation=orientation)
    if orientation in (3, 6, 8):  # LibRaw knows no mirrors, and no camera writes them.
        assert np.abs(crop(data) - crop(encoded(upright))).max() <= 12


@pytest.mark.parametrize("name", ["HEIC", "RAW"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [form] = [each for each in FORMATS if each.name == name]
    data = written(name, drawing(60, 48))
    monkeypatch.setattr(opening, "_MISSING", {form.package})
    with pytest.raises(UnsupportedFormat, match=str(form.package)):
        decode(data, PRESET, max_pixels=10**6)


def test_a_raw_picture_without_a_preview_is_an_error() -> None:
    with pytest.raises(DecodeFailed, match="preview"):
        decode(b"FUJIFILMCCD-RAW 0201" + bytes(500), PRESET, max_pixels=10**6)

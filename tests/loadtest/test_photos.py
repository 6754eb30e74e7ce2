"""The photos of 12 megapixels that the measurements make."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageOps, ImageStat

from loadtest.measure.photos import make_photo, photos
from loadtest.measure.request_stream import bulk

QUARTERS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]


def quartered() -> bytes:
    """A picture whose quarters have four colours."""
    picture = Image.new("RGB", (2, 2))
    picture.putdata(QUARTERS)
    file = io.BytesIO()
    picture.resize((400, 400), Image.Resampling.NEAREST).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_photo_is_upright_by_its_tag_and_has_a_thumbnail(number: int) -> None:
    data = make_photo(quartered(), number)
    photo = Image.open(io.BytesIO(data))
    assert photo.size == (4000, 3000)
    exif = photo.getexif()
    assert exif[ExifTags.Base.Orientation] == {0: 1, 1: 6, 3: 8}[number]
    tags = exif.get_ifd(ExifTags.IFD.IFD1)
    start = data.index(b"Exif\0\0") + 6 + tags[ExifTags.Base.JpegIFOffset]
    thumbnail = data[start : start + tags[ExifTags.Base.JpegIFByteCount]]
    assert max(Image.open(io.BytesIO(thumbnail)).size) == 160
    upright = ImageOps.exif_transpose(photo)
    middle = upright.width // 2, upright.height // 2
    boxes = [(x, y, x + middle[0], y + middle[1]) for y in (0, middle[1]) for x in (0, middle[0])]
    for box, colour in zip(boxes, QUARTERS, strict=True):
        assert ImageStat.Stat(upright.crop(box)).median == pytest.approx(colour, abs=8)


def test_photos_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "one.jpg").write_bytes(quartered())
    first = photos(tmp_path)
    [kept] = (tmp_path / "data" / "photos").iterdir()
    kept.write_bytes(b"kept")
    assert (len(first), photos(tmp_path)) == (1, [b"kept"])


def test_a_bulk_request_has_no_more_bytes_than_a_part() -> None:
    assert bulk([bytes(100_000)]).images == 32
    assert bulk([bytes(3_000_000)]).images == 4
    assert bulk([bytes(30_000_000)]).images == 1

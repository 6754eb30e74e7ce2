"""A file gets the picture that a viewer would show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.errors import TruncatedImage
from tests.workers.decode.preset import PRESET
from tests.workers.decode.test_preprocessing import crop, drawing, encoded
from workers.decode.preprocessing import decode

#: Ways in which a JPEG is stored.
STORED: dict[str, dict[str, Any]] = {
    "baseline": {"quality": 90},
    "progressive": {"quality": 90, "progressive": True},
    "restarts": {"quality": 90, "restart_marker_blocks": 7},
    "no subsampling": {"quality": 90, "subsampling": 0},
}


@pytest.mark.parametrize("size", [(300, 260), (1_400, 1_000)])
@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("left", [0, 1], ids=["no marker", "half a marker"])
def test_a_jpeg_without_its_end_marker_is_complete(
    how: str, size: tuple[int, int], left: int
) -> None:
    data = encoded(drawing(*size), "JPEG", **STORED[how])
    assert data.endswith(b"\xff\xd9")
    assert np.array_equal(crop(data[: len(data) - 2 + left]), crop(data))


@pytest.mark.parametrize("how", [each for each in STORED if each != "progressive"])
def test_a_jpeg_that_lacks_pixels_is_truncated(how: str) -> None:
    data = encoded(drawing(300, 260), "JPEG", **STORED[how])
    start = data.index(b"\xff\xda") + 20
    ends = [*range(start, len(data) - 4, 97), *range(len(data) - 40, len(data) - 4)]
    for end in [*ends, *_restarts(data, start)]:
        with pytest.raises(TruncatedImage):
            decode(data[:end], PRESET, max_pixels=10**6)


def _restarts(data: bytes, start: int) -> list[int]:
    """The places of the markers at which a decoder starts again."""
    return [
        place
        for place in range(start, len(data) - 1)
        if data[place] == 0xFF and 0xD0 <= data[place + 1] <= 0xD7
    ]


def test_a_progressive_jpeg_that_was_cut_is_truncated() -> None:
    data = encoded(drawing(300, 260), "JPEG", **STORED["progressive"])
    for end in range(len(data) // 2, len(data) - 4, 61):
        with pytest.raises(TruncatedImage):
            decode(data[:end], PRESET, max_pixels=10**6)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("blank", ["black", "white", "clear"])
def test_a_blank_first_frame_is_passed_over(blank: str, form: str) -> None:
    picture = drawing(300, 260).convert("RGBA")
    empty = Image.new("RGBA", picture.size, (0, 0, 0, 0) if blank == "clear" else blank)
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(empty, form, save_all=True, append_images=[empty, picture], **options)
    wanted = crop(encoded(picture, form, **options))
    assert np.abs(crop(data) - wanted).mean() < 6


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF", "TIFF", "JPEG"])
def test_a_blank_picture_alone_stays_one(form: str) -> None:
    assert crop(encoded(Image.new("RGB", (64, 48), "white"), form)).min() == 255

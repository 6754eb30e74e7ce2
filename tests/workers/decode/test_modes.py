"""Pictures of every mode, with gradients: gray of few or many bits, keys and alpha."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.pipeline.hostile.hostile_pictures import chunk, png
from tests.workers.decode.test_preprocessing import crop, drawing, encoded

LEVELS = np.asarray(drawing(300, 260).convert("L"))


def rows(values: NDArray[np.int64], depth: int) -> bytes:
    """Rows of a PNG without a filter."""
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    bits = np.unpackbits(values.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - depth :]
    return b"".join(b"\0" + np.packbits(row.ravel()).tobytes() for row in bits)


def gray_png(values: NDArray[np.int64], depth: int, key: int | None = None) -> bytes:
    before = b"" if key is None else chunk(b"tRNS", struct.pack(">H", key))
    height, width = values.shape
    return png(width, height, colour=0, depth=depth, before=before, rows=rows(values, depth))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_gray_of_any_depth_has_its_values(depth: int) -> None:
    most = 2**depth - 1
    values = LEVELS.astype(np.int64) * most // 255
    wanted = Image.fromarray((values * 255 // most).astype(np.uint8))
    assert np.abs(crop(gray_png(values, depth)) - crop(encoded(wanted))).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_gray_becomes_white(depth: int) -> None:
    most = 2**depth - 1
    values = LEVELS.astype(np.int64) * most // 255
    key = most // 3 or 1
    values[100:150, 100:200] = key
    alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    gray = Image.fromarray((values * 255 // most).astype(np.uint8))
    wanted = encoded(Image.merge("LA", [gray, alpha]))
    assert np.abs(crop(gray_png(values, depth, key)) - crop(wanted)).max() <= 1

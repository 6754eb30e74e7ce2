"""Thumbnails are small, and show what the model sees."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.thumbnails import MOST_BYTES
from workers.classify.thumbnail import thumbnail


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def test_a_thumbnail_shows_the_pixels() -> None:
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[:, :112] = (250, 10, 10)
    pixels[:, 112:] = (10, 10, 250)
    small = decoded(thumbnail(pixels))
    assert small.shape == (160, 160, 3)
    assert np.abs(small[:, :70].mean((0, 1)) - (250, 10, 10)).max() < 8
    assert np.abs(small[:, 90:].mean((0, 1)) - (10, 10, 250)).max() < 8


@pytest.mark.parametrize("side", [16, 224, 600])
def test_it_is_never_larger_than_promised(side: int) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    jpeg = thumbnail(noise)
    assert len(jpeg) <= MOST_BYTES
    assert max(decoded(jpeg).shape) <= 160

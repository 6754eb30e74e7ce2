"""The first try of a picture ends before decoding if its header names many pixels."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from shared.errors import DecodeTimeout, TruncatedImage
from tests.pipeline.hostile.hostile_pictures import encoded, jpeg_of_many_passes
from tests.workers.decode.preset import PRESET
from workers.decode.decoder import Decoder, Trial
from workers.decode.limits import DecodeLimits

DECODER = Decoder(PRESET, DecodeLimits(pixels=50_000_000, cpu_seconds=3, memory_bytes=400 * 2**20))


def tried(data: bytes, *, pixels: int) -> object:
    return DECODER.decode(data, trial=Trial(cpu_seconds=3, pixels=pixels)).pixels


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_a_picture_of_many_pixels_is_slow(form: str) -> None:
    data = encoded(Image.linear_gradient("L").resize((120, 100)).convert("RGB"), form)
    assert isinstance(tried(data, pixels=11_999), DecodeTimeout)
    assert isinstance(tried(data, pixels=12_000), np.ndarray)
    assert isinstance(DECODER.decode(data).pixels, np.ndarray), "without a try it is decoded"


def test_none_of_its_pixels_are_decoded() -> None:
    half = encoded(Image.effect_noise((100, 100), 50), "PNG")[:5000]
    assert isinstance(tried(half, pixels=9_999), DecodeTimeout)
    assert isinstance(tried(half, pixels=10_000), TruncatedImage)


def test_a_large_jpeg_is_quick_because_a_part_of_it_is_decoded() -> None:
    data = encoded(Image.new("RGB", (4000, 4000)), "JPEG")
    assert isinstance(tried(data, pixels=1_000_000), np.ndarray)


def test_a_block_of_a_jpeg_hides_few_passes_over_many_pixels() -> None:
    data = jpeg_of_many_passes(200)  # they take 2 s, and have 24 KB
    started = time.process_time()
    result = DECODER.decode(data, trial=Trial(cpu_seconds=0.1, pixels=10**8))
    assert isinstance(result.pixels, DecodeTimeout)
    assert time.process_time() - started < 0.5

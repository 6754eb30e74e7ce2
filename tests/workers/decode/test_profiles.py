"""Wide-gamut pictures are decoded in the colours that they state."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.workers.decode import icc
from tests.workers.decode.test_preprocessing import crop, drawing, encoded
from workers.decode import profiles

#: Colours that every space has, so that the way there and back loses nothing.
PICTURE = Image.blend(drawing(300, 260), Image.new("RGB", (300, 260), (128, 128, 128)), 0.5)
SPACES = {"Display P3": icc.DISPLAY_P3, "Adobe RGB": icc.ADOBE_RGB, "ProPhoto": icc.PROPHOTO}
WRITTEN: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
}


def wide(space: icc.Space) -> Image.Image:
    """The picture as a program stores it in the space."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(icc.profile(space)))
    stored = ImageCms.profileToProfile(PICTURE, ImageCms.createProfile("sRGB"), target)
    assert stored is not None
    del stored.info["icc_profile"]  # Pillow would write it.
    return stored


def difference(data: bytes) -> float:
    return float(np.abs(crop(data) - crop(encoded(PICTURE))).max())


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("name", SPACES)
def test_a_wide_gamut_is_converted_to_srgb(name: str, form: str) -> None:
    profile = icc.profile(SPACES[name])
    stored = wide(SPACES[name])
    ignored = encoded(stored, form, **WRITTEN[form])
    assert difference(ignored) > 12
    assert difference(encoded(stored, form, icc_profile=profile, **WRITTEN[form])) <= 8


def test_alpha_is_kept() -> None:
    clear = wide(icc.PROPHOTO)
    clear.putalpha(0)
    data = encoded(clear, icc_profile=icc.profile(icc.PROPHOTO))
    assert crop(data).min() >= 254


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"no profile",
        icc.profile(icc.PROPHOTO)[:200],
        icc.profile(icc.PROPHOTO)[:128] + b"\xff" * 300,
        icc.profile(icc.PROPHOTO).replace(b"RGB XYZ ", b"CMYKLab "),
        icc.profile(icc.PROPHOTO, more={b"A2B0": os.urandom(5_000)}),
        icc.profile(icc.PROPHOTO, more={b"D2B0": b"mpet" + os.urandom(5_000)}),
        icc.profile(icc.PROPHOTO, more={b"text": bytes(profiles.MAX_BYTES)}),
        icc.profile(icc.PROPHOTO).replace(b"curv", b"para"),
        icc.profile(icc.SRGB),
    ],
    ids=[
        *("empty", "text", "cut", "tags", "ink", "tables", "programs", "large", "curves", "sRGB"),
    ],
)
@pytest.mark.parametrize("form", WRITTEN)
def test_other_and_damaged_profiles_are_ignored(profile: bytes, form: str) -> None:
    plain = encoded(PICTURE, form, **WRITTEN[form])
    stated = encoded(PICTURE, form, icc_profile=profile, **WRITTEN[form])
    assert np.array_equal(crop(stated), crop(plain))

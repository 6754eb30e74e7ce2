"""Colours of wide-gamut pictures, converted to sRGB, which the model was trained on.

A picture states its colours by an ICC profile. Without the conversion, Display P3, Adobe RGB and
ProPhoto look pale.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from itertools import product

from PIL import Image, ImageCms

from workers.decode.damage import DECODER_ERRORS

#: A profile that is used here has 500 bytes to 4 KB, with its curves as tables at most 200 KB.
MAX_BYTES = 256 * 2**10

#: Tags of tables and programs instead of a matrix. They may take seconds, and printers have them.
_TABLES = (b"A2B", b"B2A", b"D2B", b"B2D")
_TAGS_AT, _TAG_BYTES, _MOST_TAGS = 128, 12, 100

#: Colours by which a profile is compared with sRGB. The first is black, the middle one gray, the
#: last white.
_STEPS = (0, 128, 255)
_PROBE = Image.frombytes("RGB", (27, 1), bytes(sum(product(_STEPS, repeat=3), ())))
_CLOSE = 8
_GRAY_DIFFERS = 48


def in_srgb(square: Image.Image, profile: object) -> Image.Image:
    """The picture in sRGB; unchanged if its profile is missing, damaged or close to sRGB."""
    if not isinstance(profile, bytes) or square.mode != "RGB" or len(profile) > MAX_BYTES:
        return square
    transform = _transform(profile)
    return transform.apply(square) if transform else square


@lru_cache(16)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    if not _has_only_a_matrix(profile):
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
        )
        probed = transform.apply(_PROBE).tobytes()
    except (ImageCms.PyCMSError, *DECODER_ERRORS):
        return None
    distances = [abs(a - b) for a, b in zip(probed, _PROBE.tobytes(), strict=True)]
    grays = max(*distances[:3], *distances[-3:]), max(distances[39:42])
    if grays[0] > _CLOSE or grays[1] > _GRAY_DIFFERS:
        return None  # No profile of a display changes black or white.
    return transform if max(distances) > _CLOSE else None


def _has_only_a_matrix(profile: bytes) -> bool:
    """Whether it is a profile of RGB without tables."""
    if profile[16:20] != b"RGB " or len(profile) < _TAGS_AT + 4:
        return False
    (tags,) = struct.unpack_from(">I", profile, _TAGS_AT)
    names = [
        profile[at : at + 3]
        for at in range(_TAGS_AT + 4, _TAGS_AT + 4 + _TAG_BYTES * min(tags, _MOST_TAGS), _TAG_BYTES)
    ]
    return tags <= _MOST_TAGS and not any(name in _TABLES for name in names)

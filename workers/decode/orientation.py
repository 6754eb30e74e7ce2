"""How a picture is made upright."""

from __future__ import annotations

import re
from typing import NamedTuple

from PIL import Image

from workers.decode.damage import DECODER_ERRORS

_TAG = 0x0112

#: XMP is XML, so an attribute may be in single quotes, and with spaces around the sign.
_XMP = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>\s*)([1-8])\b")


class Orientation(NamedTuple):
    """How to make a picture upright, and whether that mirrors its axes."""

    method: Image.Transpose | None
    mirrors_x: bool
    mirrors_y: bool


UPRIGHT = Orientation(None, False, False)

#: By the number in EXIF. `mirrors_x` and `mirrors_y` refer to the picture as it is stored.
_ORIENTATIONS = {
    2: Orientation(Image.Transpose.FLIP_LEFT_RIGHT, True, False),
    3: Orientation(Image.Transpose.ROTATE_180, True, True),
    4: Orientation(Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: Orientation(Image.Transpose.TRANSPOSE, False, False),
    6: Orientation(Image.Transpose.ROTATE_270, False, True),
    7: Orientation(Image.Transpose.TRANSVERSE, True, True),
    8: Orientation(Image.Transpose.ROTATE_90, True, False),
}


def orientation(image: Image.Image) -> Orientation:
    """The orientation of a picture that is loaded; UPRIGHT if it is missing or damaged.

    EXIF goes before XMP. A HEIC states in its container how it is turned, and is upright after
    decoding; what EXIF and XMP say beside it must not turn it again. Pillow gives the statement of
    an AVIF's container as EXIF.
    """
    if image.format == "HEIF":
        return UPRIGHT
    try:
        number = image.getexif().get(_TAG)
    except DECODER_ERRORS:
        return UPRIGHT
    if number is None and image.format != "AVIF":
        number = _in_xmp(image.info.get("XML:com.adobe.xmp") or image.info.get("xmp"))
    return _ORIENTATIONS.get(number, UPRIGHT) if isinstance(number, int) else UPRIGHT


def _in_xmp(xmp: object) -> int | None:
    if isinstance(xmp, str):
        xmp = xmp.encode(errors="replace")
    match = _XMP.search(xmp) if isinstance(xmp, bytes) else None
    return int(match[1]) if match else None

"""TIFF pictures that Pillow reads wrong: wrong bytes, planes, signs or white.

Pillow knows a kind of TIFF by a mode and a "raw mode", which says how bytes become pixels. For some
kinds it takes a raw mode that does not fit.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, TiffImagePlugin

from workers.decode.gray import Scale

_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO, _YCBCR = 0, 6
_SEPARATE = 2
_UNSIGNED, _SIGNED = 1, 2

#: libtiff has brought the bytes of a compressed picture into the order of this machine.
_NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}

#: Modes whose planes Pillow puts together.
_OF_PLANES = ("RGB", "RGBA", "CMYK")


def prepare(image: TiffImagePlugin.TiffImageFile) -> None:
    """Correct how a picture will be read. Call it before `load`.

    Raises ValueError for a kind that Pillow would read wrong and that is not corrected here.
    """
    separate = image.tag_v2.get(_PLANES, 1) == _SEPARATE and len(_bits(image)) > 1
    if separate and image.mode not in _OF_PLANES:
        raise ValueError(f"{image.mode} in planes")
    # Pillow itself reads each plane as 8 bits, and ignores that there may be less colour than gray.
    if not image.use_load_libtiff and (
        (separate and max(_bits(image)) > 8) or image.tag_v2.get(_PHOTOMETRIC) == _YCBCR
    ):
        _use_libtiff(image)
    if image.use_load_libtiff:
        image.tile = [
            each._replace(args=(_NATIVE.get(raw, raw), *others))
            for each in image.tile
            if isinstance(each.args, tuple)
            for raw, *others in (each.args,)
        ]


def corrected(image: TiffImagePlugin.TiffImageFile) -> Image.Image:
    """The loaded picture with its right values."""
    kind = _sample_format(image)
    if image.mode == "L" and kind == _SIGNED:
        return image.point([value ^ 0x80 for value in range(256)])
    if image.mode == "I" and kind == _UNSIGNED:
        values = np.asarray(image).view(np.uint32)
        return Image.fromarray(values.astype(np.float32))
    return image


def scale(image: Image.Image, tags: TiffImagePlugin.ImageFileDirectory_v2) -> Scale:
    """Black and white of a gray picture with more than 8 bits, by its loaded pixels and its tags.

    Cameras and microscopes store 10, 12 or 14 bits in 16. So the brightest pixel tells the bits.
    """
    inverted = tags.get(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO
    if image.mode != "I;16":
        return Scale(white=None, inverted=inverted)
    _, brightest = image.getextrema()
    bits = 12 if tags.get(_BITS) == (12,) else int(brightest).bit_length()  # type: ignore[arg-type]
    white = next(2**each - 1 for each in (10, 12, 14, 16) if each >= bits)
    return Scale(white=white, inverted=inverted)


def _use_libtiff(image: TiffImagePlugin.TiffImageFile) -> None:
    """Have libtiff read a picture that is not compressed."""
    before = TiffImagePlugin.READ_LIBTIFF
    TiffImagePlugin.READ_LIBTIFF = True
    try:
        image._setup()
    finally:
        TiffImagePlugin.READ_LIBTIFF = before


def _bits(image: TiffImagePlugin.TiffImageFile) -> tuple[int, ...]:
    bits: tuple[int, ...] = image.tag_v2.get(_BITS, (1,))
    return bits


def _sample_format(image: TiffImagePlugin.TiffImageFile) -> int:
    formats: tuple[int, ...] = image.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    return formats[0]

"""From any mode that Pillow gives to RGB with 8 bits."""

from __future__ import annotations

from PIL import Image, PngImagePlugin, TiffImagePlugin

from workers.decode import gray, tiff
from workers.decode.gray import Scale

#: Modes with alpha multiplied into the colours, and the mode without.
_UNMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}

#: Bits of a gray PNG by the raw mode of its tiles, if fewer than 8.
_GRAY_BITS = {"1": 1, "L;2": 2, "L;4": 4}


def prepare(image: Image.Image) -> None:
    """Correct how Pillow will read the picture. Call it before `load`. May raise ValueError."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tiff.prepare(image)
    elif isinstance(image, PngImagePlugin.PngImageFile):
        _scale_key(image)


def averageable(image: Image.Image) -> Image.Image:
    """The loaded picture in a mode whose pixels can be averaged: no palette, bits or colour key."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image = tiff.corrected(image)
    image = gray.native(image)
    if image.mode in gray.DEEP_MODES:
        key = image.info.get("transparency")
        return gray.with_key_as_alpha(image, key) if isinstance(key, int) else image
    if image.mode in ("RGBA", "LA"):
        return image  # `convert` would copy the whole picture.
    if image.mode in _UNMULTIPLIED:
        return image.convert(_UNMULTIPLIED[image.mode])
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("RGB") if image.mode in ("1", "P") else image


def scale_of(image: Image.Image, averaged: Image.Image) -> Scale:
    """Black and white of `averaged`, which was made from `image`, if it is gray and deep."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return tiff.scale(averaged, image.tag_v2)
    return gray.USUAL_16 if averaged.mode == "I;16" else gray.BY_RANGE


def on_white(square: Image.Image) -> Image.Image:
    """The picture in front of white, in RGB.

    Transparent pictures are mostly made for white pages. Dropping alpha instead would show colours
    that were meant to be hidden.
    """
    if square.mode not in ("RGBA", "LA"):
        return square if square.mode == "RGB" else square.convert("RGB")
    page = Image.new("RGBA", square.size, "white")
    return Image.alpha_composite(page, square.convert("RGBA")).convert("RGB")


def _scale_key(image: PngImagePlugin.PngImageFile) -> None:
    """Pillow spreads gray of few bits to 0..255, but leaves the transparent value as it is."""
    key = image.info.get("transparency")
    bits = _GRAY_BITS.get(str(image.tile[0].args)) if image.tile else None
    if bits and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**bits - 1)

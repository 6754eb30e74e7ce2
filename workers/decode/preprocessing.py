"""Decodes a picture and cuts out the square of pixels that the model was trained on."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from shared.errors import (
    DecodeFailed,
    EmptyFile,
    TooManyPixels,
    TooMuchMemory,
    TruncatedImage,
    UnsupportedFormat,
)
from workers.decode.png import without_metadata

#: Part of the model version. Increase it when the same file would give other pixels.
PREPROCESSING_VERSION = "1"

#: Recognised by content, tried in this order. JPEG includes MPO, which some phones write.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_ORIENTATION_TAG = 0x0112

#: Bytes that a decoder gets at once. The time limit acts between two blocks. In one of Pillow's
#: blocks of 64 KiB, a hostile JPEG of 50 million pixels can hide 900 passes, which take 3 s.
_BLOCK_BYTES = 8 * 2**10

#: Gray with 16 or 32 bits, or floats.
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")

# Everything that Pillow's decoders are known to raise for damaged files. `Exception` would also
# catch the pool's soft time limit and blame the picture for it.
_DECODER_ERRORS = (
    Image.DecompressionBombError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


#: Part of Pillow's message when a decoder written in C gets no memory.
_OUT_OF_MEMORY = "decoder error -9"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The preprocessing of a model. Sizes in pixels; mean and std for RGB in 0..1."""

    resize_size: int  #: Shorter side, before cropping.
    crop_size: int  #: Both sides of the centre crop.
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic", "nearest"]


class _Orientation(NamedTuple):
    """How to make a picture upright, and whether that mirrors its axes."""

    method: Image.Transpose | None
    mirrors_x: bool
    mirrors_y: bool


_UPRIGHT = _Orientation(None, False, False)

#: By the number in EXIF. `mirrors_x` and `mirrors_y` refer to the picture as it is stored.
_ORIENTATIONS = {
    2: _Orientation(Image.Transpose.FLIP_LEFT_RIGHT, True, False),
    3: _Orientation(Image.Transpose.ROTATE_180, True, True),
    4: _Orientation(Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: _Orientation(Image.Transpose.TRANSPOSE, False, False),
    6: _Orientation(Image.Transpose.ROTATE_270, False, True),
    7: _Orientation(Image.Transpose.TRANSVERSE, True, True),
    8: _Orientation(Image.Transpose.ROTATE_90, True, False),
}


def decode(data: bytes, preset: Preset, *, max_pixels: int) -> NDArray[np.uint8]:
    """The upright centre crop of a picture, as RGB of shape (crop_size, crop_size, 3).

    A GIF or TIFF gives its first frame. Raises EmptyFile, UnsupportedFormat, TooManyPixels,
    TooMuchMemory, TruncatedImage or DecodeFailed, and none of Pillow's errors. Pillow's own limit
    of 179 million pixels also applies.
    """
    if not data:
        raise EmptyFile
    try:
        # Pillow warns of oddities in files that it can read. They do not belong in the log.
        needed = without_metadata(data)
        with warnings.catch_warnings(action="ignore"), _open(needed) as image:
            _check_pixels(image, max_pixels)
            return _pixels(_upright_crop(image, preset))
    except Image.DecompressionBombError as error:
        raise TooManyPixels from error
    except MemoryError as error:
        raise TooMuchMemory from error
    except _DECODER_ERRORS as error:
        if _OUT_OF_MEMORY in str(error):
            raise TooMuchMemory from error
        if _is_truncated(data, error):
            raise TruncatedImage from error
        raise DecodeFailed from error


def _open(data: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        # Pillow raises the same error for a text file and for a PNG with a damaged header.
        signatures = [Image.OPEN[name][1] for name in _FORMATS]
        if any(matches and matches(data[:16]) for matches in signatures):
            raise DecodeFailed from error
        raise UnsupportedFormat from error


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixels(
            f"The picture has {width} x {height} pixels; at most {max_pixels} are allowed."
        )


def _is_truncated(data: bytes, error: BaseException) -> bool:
    """Pillow only mentions it in its message, and for a WebP not even there."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return "truncated" in str(error).lower()


def _upright_crop(image: ImageFile.ImageFile, preset: Preset) -> Image.Image:
    """Resize, crop and make upright in one pass over the large picture."""
    width, height = image.size
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, but not below the resized size.
    drafted = image.draft(None, _resized(width, height, preset))
    shrunk = drafted[1][2] / width if drafted else 1.0
    image.decodermaxblock = _BLOCK_BYTES
    image.load()
    orientation = _ORIENTATIONS.get(_exif_orientation(image), _UPRIGHT)
    left, top, right, bottom = _kept(width, height, preset, orientation)
    square = _resizable(image).resize(
        (preset.crop_size, preset.crop_size),
        Image.Resampling[preset.interpolation.upper()],
        box=(left * shrunk, top * shrunk, right * shrunk, bottom * shrunk),
    )
    return square if orientation.method is None else square.transpose(orientation.method)


def _resized(width: int, height: int, preset: Preset) -> tuple[int, int]:
    """The size that torchvision's Resize gives: the longer side is rounded down."""
    shorter = min(width, height)
    return preset.resize_size * width // shorter, preset.resize_size * height // shorter


def _kept(
    width: int, height: int, preset: Preset, orientation: _Orientation
) -> tuple[float, float, float, float]:
    """The box, in pixels of the picture, that remains after torchvision's Resize and CenterCrop.

    Resizing only this box gives the same as resizing all and cropping, and takes less memory: a
    picture of 10000 x 1 pixels would be resized to 2560000 x 256.
    """
    crop = preset.crop_size
    resized_width, resized_height = _resized(width, height, preset)
    left = _margin(resized_width - crop, orientation.mirrors_x)
    top = _margin(resized_height - crop, orientation.mirrors_y)
    return (
        left * width / resized_width,
        top * height / resized_height,
        (left + crop) * width / resized_width,
        (top + crop) * height / resized_height,
    )


def _margin(spare: int, mirrored: bool) -> int:
    """Pixels before the crop, rounded as torchvision does; if mirrored, those behind it.

    A crop half a pixel off changes the best probability by 0.03 on average.
    """
    near = round(spare / 2)
    return spare - near if mirrored else near


def _exif_orientation(image: Image.Image) -> int:
    """The number in EXIF or XMP; 1, which means upright, if it is missing or damaged."""
    try:
        number = image.getexif().get(_ORIENTATION_TAG)
    except _DECODER_ERRORS:
        return 1
    return number if isinstance(number, int) else 1


def _resizable(image: Image.Image) -> Image.Image:
    """The picture in a mode whose pixels can be averaged: no palette, bits or colour key."""
    if image.mode in _DEEP_MODES:
        return image
    if image.mode in ("RGBA", "LA"):
        return image  # `convert` would copy the whole picture.
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("1", "P"):
        return image.convert("RGB")
    return image


def _pixels(square: Image.Image) -> NDArray[np.uint8]:
    """The square as RGB with 8 bits."""
    if square.mode in _DEEP_MODES:
        square = Image.fromarray(_shallow(np.asarray(square)))
    elif square.mode in ("RGBA", "LA"):
        # Transparent pictures are mostly made for white pages. Dropping alpha instead would show
        # colours that were meant to be hidden.
        page = Image.new("RGBA", square.size, "white")
        square = Image.alpha_composite(page, square.convert("RGBA"))
    return np.asarray(square.convert("RGB"))


def _shallow(gray: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Gray with 8 bits, from more. Pillow's own conversion would clip it to white."""
    if gray.dtype.itemsize == 2:
        return (gray.astype(np.uint16) >> 8).astype(np.uint8)
    # 32 bits and floats do not define white, so the darkest to the brightest pixel is the range.
    values = np.nan_to_num(gray.astype(np.float64), posinf=0.0, neginf=0.0)
    values -= values.min()
    return (255 * values / (values.max() or 1.0)).astype(np.uint8)

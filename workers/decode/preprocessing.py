"""From the bytes of a picture to the square of pixels that the model was trained on."""

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

#: Part of the model version: raise it when the same bytes would give other pixels.
PREPROCESSING_VERSION = "1"

#: By content, in the order in which they are tried. JPEG includes MPO, the phones' stereo kind.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_ORIENTATION_TAG = 0x0112

#: Bytes given to a decoder at once, between which a time limit is heard. In Pillow's 64 KiB a
#: hostile JPEG hides 3 s of work, 900 passes over its 50 million pixels.
_BLOCK_BYTES = 8 * 2**10

#: Gray of 16 or 32 bits, or of floats.
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")

# All that Pillow's decoders are known to raise on damaged files. Named one by one, because a bare
# Exception would also swallow the pool's soft time limit and blame it on the picture.
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


#: Pillow's words where a decoder in C could not get memory.
_OUT_OF_MEMORY = "decoder error -9"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How a model wants its pictures. Sizes in pixels; mean and std of RGB scaled to 0..1."""

    resize_size: int  #: Of the shorter side, before cropping.
    crop_size: int  #: Of both sides of the centre crop.
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic", "nearest"]


class _Turn(NamedTuple):
    """What makes a picture upright, and whether its left and right, top and bottom swap."""

    method: Image.Transpose | None
    mirrors_x: bool
    mirrors_y: bool


_UPRIGHT = _Turn(None, False, False)

#: By EXIF orientation. `mirrors_x` and `mirrors_y` are about the picture as it lies in the file.
_TURNS = {
    2: _Turn(Image.Transpose.FLIP_LEFT_RIGHT, True, False),
    3: _Turn(Image.Transpose.ROTATE_180, True, True),
    4: _Turn(Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: _Turn(Image.Transpose.TRANSPOSE, False, False),
    6: _Turn(Image.Transpose.ROTATE_270, False, True),
    7: _Turn(Image.Transpose.TRANSVERSE, True, True),
    8: _Turn(Image.Transpose.ROTATE_90, True, False),
}


def decode(data: bytes, preset: Preset, *, max_pixels: int) -> NDArray[np.uint8]:
    """The upright centre crop of a picture, as RGB of shape (crop_size, crop_size, 3).

    A GIF or TIFF gives its first frame. Raises EmptyFile, UnsupportedFormat, TooManyPixels,
    TooMuchMemory, TruncatedImage or DecodeFailed; nothing of Pillow's. Pillow's own pixel limit,
    179 million, stays in force above `max_pixels`.
    """
    if not data:
        raise EmptyFile
    try:
        # Pillow warns of oddities in files that it can read. They do not belong in the log.
        with warnings.catch_warnings(action="ignore"), _open(data) as image:
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
        # Pillow says the same of a text file and of a PNG whose header is damaged.
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
    """Pillow has no class for it, only words; of a WebP it says just that it cannot decode."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return "truncated" in str(error).lower()


def _upright_crop(image: ImageFile.ImageFile, preset: Preset) -> Image.Image:
    """Resize, crop and turn, touching the big picture once."""
    width, height = image.size
    # A JPEG can shrink by 2, 4 or 8 while it is decoded; never below what Resize would give.
    drafted = image.draft(None, _resized(width, height, preset))
    shrunk = drafted[1][2] / width if drafted else 1.0
    image.decodermaxblock = _BLOCK_BYTES
    image.load()
    turn = _TURNS.get(_orientation(image), _UPRIGHT)
    left, top, right, bottom = _kept(width, height, preset, turn)
    square = _resizable(image).resize(
        (preset.crop_size, preset.crop_size),
        Image.Resampling[preset.interpolation.upper()],
        box=(left * shrunk, top * shrunk, right * shrunk, bottom * shrunk),
    )
    return square if turn.method is None else square.transpose(turn.method)


def _resized(width: int, height: int, preset: Preset) -> tuple[int, int]:
    """The size that torchvision's Resize gives: the shorter side set, the longer rounded down."""
    shorter = min(width, height)
    return preset.resize_size * width // shorter, preset.resize_size * height // shorter


def _kept(
    width: int, height: int, preset: Preset, turn: _Turn
) -> tuple[float, float, float, float]:
    """The part of a picture, in its pixels, that survives torchvision's Resize and CenterCrop.

    Resizing only this part gives what resizing all and cropping gives, without the memory for the
    rest: 2560000 x 256 pixels where a picture is 10000 x 1.
    """
    crop = preset.crop_size
    resized_width, resized_height = _resized(width, height, preset)
    left = _margin(resized_width - crop, turn.mirrors_x)
    top = _margin(resized_height - crop, turn.mirrors_y)
    return (
        left * width / resized_width,
        top * height / resized_height,
        (left + crop) * width / resized_width,
        (top + crop) * height / resized_height,
    )


def _margin(spare: int, mirrored: bool) -> int:
    """Left of the crop, as torchvision rounds it; the other side's where turning swaps the sides.

    Cropping half a pixel beside it moves the best probability by 0.03 on average.
    """
    near = round(spare / 2)
    return spare - near if mirrored else near


def _orientation(image: Image.Image) -> int:
    """By EXIF or XMP; 1 is upright. Where EXIF is damaged the picture counts as upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except _DECODER_ERRORS:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _resizable(image: Image.Image) -> Image.Image:
    """In a mode whose neighbouring pixels can be averaged: no palette, no bits, no colour key."""
    if image.mode in _DEEP_MODES:
        return image
    if image.mode in ("RGBA", "LA"):
        return image  # `convert` would copy it, as large as it is
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("1", "P"):
        return image.convert("RGB")
    return image


def _pixels(square: Image.Image) -> NDArray[np.uint8]:
    """As RGB of 8 bits, whatever the picture was made of."""
    if square.mode in _DEEP_MODES:
        square = Image.fromarray(_shallow(np.asarray(square)))
    elif square.mode in ("RGBA", "LA"):
        # What is cut out is mostly meant for a page, and pages are white. Dropping alpha instead
        # would bring back colours that nobody was meant to see.
        page = Image.new("RGBA", square.size, "white")
        square = Image.alpha_composite(page, square.convert("RGBA"))
    return np.asarray(square.convert("RGB"))


def _shallow(gray: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Gray of more than 8 bits as 8; Pillow's own conversion would clip it to white."""
    if gray.dtype.itemsize == 2:
        return (gray.astype(np.uint16) >> 8).astype(np.uint8)
    # Neither 32 bits nor floats say what white is: from the darkest to the brightest.
    values = np.nan_to_num(gray.astype(np.float64), posinf=0.0, neginf=0.0)
    values -= values.min()
    return (255 * values / (values.max() or 1.0)).astype(np.uint8)

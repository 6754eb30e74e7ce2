"""Decodes a picture and cuts out the square of pixels that the model was trained on."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from shared.errors import (
    DecodeFailed,
    DecodeTimeout,
    EmptyFile,
    TooManyPixels,
    TooMuchMemory,
    TruncatedImage,
)
from shared.formats import HEAD_BYTES, JPEG
from shared.sizes import too_many_pixels
from workers.decode import colours, gray, jpeg, profiles
from workers.decode.damage import DECODER_ERRORS, is_out_of_memory, is_truncated
from workers.decode.opening import open_picture
from workers.decode.orientation import Orientation, orientation

#: Part of the model version. Increase it when the same file would give other pixels.
PREPROCESSING_VERSION = "2"

#: Bytes that a decoder gets at once. The time limit acts between two blocks. In one of Pillow's
#: blocks of 64 KiB, a hostile JPEG of 50 million pixels can hide 900 passes, which take 3 s.
_BLOCK_BYTES = 8 * 2**10
#: Smaller ones make the decoding of a large photo slower.
_LEAST_BLOCK_BYTES = 512


#: Formats of animations, and frames that are tried if the first ones are blank.
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_MOST_FRAMES = 10


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The preprocessing of a model. Sizes in pixels; mean and std for RGB in 0..1."""

    resize_size: int  #: The side that `resize` names, before cropping.
    crop_size: int  #: Both sides of the centre crop.
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic", "nearest", "lanczos"]
    #: Which side gets `resize_size`. `both` stretches the picture to a square. With `longer` the
    #: rest of the square is filled with the colour `fill`, RGB in 0..255.
    resize: Literal["shorter", "both", "longer"] = "shorter"
    fill: tuple[int, int, int] = (0, 0, 0)
    #: Half a pixel before the crop is rounded to the even number, or down.
    margin: Literal["even", "down"] = "even"


class _PixelLimits(NamedTuple):
    """Both limit what is decoded, which of a large JPEG is a part only."""

    most: int
    quick: float  #: A picture with more than this takes long.


def decode(
    data: bytes, preset: Preset, *, max_pixels: int, quick_pixels: float = math.inf
) -> NDArray[np.uint8]:
    """The upright centre crop of a picture, as RGB of shape (crop_size, crop_size, 3).

    A TIFF gives its first page, and an animation its first frame that is not blank. Raises
    EmptyFile, UnsupportedFormat, TooManyPixels, TooMuchMemory, TruncatedImage or DecodeFailed, and
    none of Pillow's errors. `max_pixels` limits what is decoded: a large JPEG is decoded at a half
    to an eighth of its size. In other formats Pillow's own limit of 179 million pixels also
    applies. Raises DecodeTimeout, before decoding, if `quick_pixels` is less than what is decoded.
    """
    if not data:
        raise EmptyFile
    try:
        # Pillow warns of oddities in files that it can read. They do not belong in the log.
        with warnings.catch_warnings(action="ignore"):
            return _decoded(data, preset, _PixelLimits(max_pixels, quick_pixels))
    except Image.DecompressionBombError as error:
        raise TooManyPixels from error
    except (MemoryError, *DECODER_ERRORS) as error:
        if is_out_of_memory(error):
            raise TooMuchMemory from error
        if is_truncated(data, error):
            raise TruncatedImage from error
        raise DecodeFailed from error


def _decoded(data: bytes, preset: Preset, limits: _PixelLimits) -> NDArray[np.uint8]:
    try:
        with open_picture(data) as image:
            return np.asarray(_with_content(image, preset, limits))
    except OSError as error:
        if not (JPEG.matches(data[:HEAD_BYTES]) and is_truncated(data, error)):
            raise
        whole = jpeg.with_end(data, preset.resize_size)
        if whole is None:
            raise
    with open_picture(whole) as image:
        return np.asarray(_upright_crop(image, preset, limits))


def _with_content(image: ImageFile.ImageFile, preset: Preset, limits: _PixelLimits) -> Image.Image:
    """The crop of the first frame; if that is blank, of the first other one that is not.

    A viewer shows a blank first frame for a moment only.
    """
    first = _upright_crop(image, preset, limits)
    if image.format not in _ANIMATED or not _is_blank(first):
        return first
    for number in range(1, _MOST_FRAMES):
        try:
            image.seek(number)
        except EOFError:
            return first
        square = _upright_crop(image, preset, limits)
        if not _is_blank(square):
            return square
    return first


def _is_blank(square: Image.Image) -> bool:
    return all(darkest == brightest for darkest, brightest in square.getextrema())  # type: ignore


def _check_pixels(image: Image.Image, whole: tuple[int, int], limits: _PixelLimits) -> None:
    """Check what will be decoded; `whole` is the size of the picture."""
    width, height = image.size
    if width * height > limits.most:
        raise TooManyPixels(
            f"The picture has {too_many_pixels(*whole, limits.most, 'MAX_IMAGE_PIXELS')}."
        )
    if width * height > limits.quick:
        raise DecodeTimeout


def _upright_crop(image: ImageFile.ImageFile, preset: Preset, limits: _PixelLimits) -> Image.Image:
    """Resize, crop and make upright in one pass over the large picture. Returns RGB."""
    colours.prepare(image)
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, but not below the resized size.
    width, height = image.size
    drafted = image.draft(None, _resized(width, height, preset))
    _check_pixels(image, (width, height), limits)
    image.decodermaxblock = _block_bytes(image, width * height)
    image.load()
    if not drafted:
        width, height = image.size  # Pillow makes a TIFF upright while it loads it.
    shrunk = drafted[1][2] / width if drafted else 1.0
    upright = orientation(image)
    kept = _kept(width, height, preset, upright)
    averaged = colours.averageable(image)
    square = averaged.resize(
        kept.size,
        Image.Resampling[preset.interpolation.upper()],
        box=tuple(edge * shrunk for edge in kept.box),  # type: ignore[arg-type]
    )
    if averaged.mode in gray.DEEP_MODES:
        square = gray.shallow(square, colours.scale_of(image, averaged))
    square = profiles.in_srgb(colours.on_white(square), image.info.get("icc_profile"))
    if kept.size != (preset.crop_size, preset.crop_size):
        part, square = square, Image.new("RGB", (preset.crop_size, preset.crop_size), preset.fill)
        square.paste(part, kept.place)
    return square if upright.method is None else square.transpose(upright.method)


def _block_bytes(image: Image.Image, pixels: int) -> int:
    """The bytes of a block. A pass of a progressive JPEG may have few bytes for all its pixels."""
    if "progressive" not in image.info:
        return _BLOCK_BYTES
    return max(_LEAST_BLOCK_BYTES, _BLOCK_BYTES // max(1, pixels // 1_000_000))


def _resized(width: int, height: int, preset: Preset) -> tuple[int, int]:
    """The size after resizing. The other side is rounded down by torchvision, and rounded by timm,
    which fills."""
    size = preset.resize_size
    if preset.resize == "both":
        return size, size
    if preset.resize == "shorter":
        shorter = min(width, height)
        return size * width // shorter, size * height // shorter
    longer = max(width, height)
    return max(1, round(size * width / longer)), max(1, round(size * height / longer))


class _Kept(NamedTuple):
    """What remains of a picture."""

    box: tuple[float, float, float, float]  #: In pixels of the picture.
    size: tuple[int, int]  #: After resizing. It is smaller than the crop if the rest is filled.
    place: tuple[int, int]  #: Of the resized box in the crop.


def _kept(width: int, height: int, preset: Preset, orientation: Orientation) -> _Kept:
    """What remains after torchvision's Resize and CenterCrop.

    Resizing only this box gives the same as resizing all and cropping, and takes less memory: a
    picture of 10000 x 1 pixels would be resized to 2560000 x 256.
    """
    sides = zip(
        (width, height),
        _resized(width, height, preset),
        (orientation.mirrors_x, orientation.mirrors_y),
        strict=True,
    )
    (left, right, kept_width, x), (top, bottom, kept_height, y) = (
        _kept_of_side(side, resized, mirrored, preset) for side, resized, mirrored in sides
    )
    return _Kept((left, top, right, bottom), (kept_width, kept_height), (x, y))


def _kept_of_side(
    side: int, resized: int, mirrored: bool, preset: Preset
) -> tuple[float, float, int, int]:
    """First and last pixel that remain, their number after resizing, and their place."""
    spare = resized - preset.crop_size
    if spare < 0:
        return 0, side, resized, _margin(-spare, mirrored, "down")
    margin = _margin(spare, mirrored, preset.margin)
    first, last = margin * side / resized, (margin + preset.crop_size) * side / resized
    return first, last, preset.crop_size, 0


def _margin(spare: int, mirrored: bool, rounding: str) -> int:
    """Pixels before the crop, rounded as the preset's library does; if mirrored, those behind it.

    A crop half a pixel off changes the best probability by 0.03 on average.
    """
    near = round(spare / 2) if rounding == "even" else spare // 2
    return spare - near if mirrored else near

"""Any allowed picture is decoded into the pixels that the model was trained on."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.workers.decode.preset import PRESET
from workers.decode.preprocessing import Preset, decode

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

#: How a camera stores a picture, by the EXIF orientation that it writes.
HELD = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def drawing(width: int, height: int) -> Image.Image:
    """Smooth colours that differ in every corner, so that no two orientations look alike."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = (np.sin(9 * x + 4 * y) + 1) / 2
    return Image.fromarray((255 * np.stack([x, y, waves], axis=2)).astype(np.uint8))


def encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def crop(data: bytes, preset: Preset = PRESET) -> NDArray[np.int32]:
    pixels = decode(data, preset, max_pixels=50_000_000)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (preset.crop_size, preset.crop_size, 3)
    return pixels.astype(np.int32)


def resized_then_cropped(picture: Image.Image, preset: Preset = PRESET) -> NDArray[np.int32]:
    """Resize of the whole picture, then CenterCrop, as torchvision does it."""
    width, height = picture.size
    shorter = min(width, height)
    width, height = (int(preset.resize_size * side / shorter) for side in (width, height))
    resample = Image.Resampling[preset.interpolation.upper()]
    left, top = (int(round((side - preset.crop_size) / 2.0)) for side in (width, height))
    box = (left, top, left + preset.crop_size, top + preset.crop_size)
    return np.asarray(picture.resize((width, height), resample).crop(box)).astype(np.int32)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(
    "size", [(500, 375), (375, 501), (232, 232), (231, 999), (50, 40), (1, 1), (7, 3)]
)
def test_one_step_gives_the_same_as_resizing_and_cropping(
    size: tuple[int, int], interpolation: str
) -> None:
    preset = Preset(
        resize_size=232,
        crop_size=224,
        mean=PRESET.mean,
        std=PRESET.std,
        interpolation=interpolation,  # type: ignore[arg-type]
    )
    picture = drawing(*size)
    assert np.abs(crop(encoded(picture), preset) - resized_then_cropped(picture, preset)).max() <= 1


@pytest.mark.parametrize("size", [(465, 464), (1600, 1201), (4000, 3000)])
def test_a_large_jpeg_looks_the_same_although_it_is_decoded_smaller(size: tuple[int, int]) -> None:
    picture = drawing(*size)
    difference = np.abs(crop(encoded(picture, "JPEG", quality=95)) - resized_then_cropped(picture))
    assert difference.mean() < 1
    assert difference.max() <= 8


@pytest.mark.parametrize("form", FORMATS)
def test_every_allowed_format_is_recognised_by_its_content(form: str) -> None:
    difference = np.abs(crop(encoded(drawing(300, 250), form)) - crop(encoded(drawing(300, 250))))
    assert difference.mean() < (12 if form == "GIF" else 3)  # A GIF has 256 colours.


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG", "MPO"])
@pytest.mark.parametrize("orientation", HELD)
def test_a_rotated_phone_picture_is_made_upright(orientation: int, form: str) -> None:
    # Phones take pictures of 4:3. The margins of their crop then differ by a pixel.
    upright = drawing(400, 300)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {"quality": 95}
    held = encoded(upright.transpose(HELD[orientation]), form, exif=exif, **options)
    difference = np.abs(crop(held) - crop(encoded(upright)))
    assert difference.max() <= (8 if form in ("JPEG", "MPO") else 1)


def test_damaged_exif_leaves_the_picture_as_it_is_stored() -> None:
    whole = encoded(drawing(300, 250), "JPEG")
    damaged = encoded(drawing(300, 250), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff rubbish")
    assert np.array_equal(crop(damaged), crop(whole))


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG", "WEBP", "MPO"])
def test_the_first_of_several_frames_is_used(form: str) -> None:
    red, blue = (Image.new("RGB", (64, 48), colour) for colour in ("red", "blue"))
    data = encoded(red, form, save_all=True, append_images=[blue])
    assert np.abs(crop(data) - (255, 0, 0)).max() <= 3


GRAY_16 = Image.fromarray(np.full((48, 64), 40_000, np.uint16))
RAMP = np.linspace(-3, 7, 64, dtype=np.float32).repeat(64).reshape(64, 64)


@pytest.mark.parametrize(
    ("picture", "form", "options", "colour"),
    [
        (Image.new("L", (64, 48), 90), "PNG", {}, (90, 90, 90)),
        (Image.new("1", (64, 48), 1), "PNG", {}, (255, 255, 255)),
        (Image.new("1", (64, 48), 0), "TIFF", {"compression": "group4"}, (0, 0, 0)),
        (Image.new("RGB", (64, 48), (9, 99, 199)).quantize(4), "PNG", {}, (9, 99, 199)),
        (Image.new("CMYK", (64, 48), (255, 0, 0, 0)), "JPEG", {}, (0, 255, 255)),
        (Image.new("CMYK", (64, 48), (0, 255, 0, 0)), "TIFF", {}, (255, 0, 255)),
        (Image.new("YCbCr", (64, 48), (76, 85, 255)), "TIFF", {}, (254, 0, 0)),
        (GRAY_16, "PNG", {}, (156, 156, 156)),
        (GRAY_16, "TIFF", {}, (156, 156, 156)),
    ],
)
def test_every_mode_becomes_its_colour(
    picture: Image.Image, form: str, options: dict[str, object], colour: tuple[int, int, int]
) -> None:
    assert np.abs(crop(encoded(picture, form, **options)) - colour).max() <= 2


def test_gray_of_16_bits_is_scaled_the_same_in_both_byte_orders() -> None:
    big = encoded(Image.frombytes("I;16B", (64, 48), struct.pack(">H", 40_000) * 64 * 48), "TIFF")
    assert np.abs(crop(big) - 156).max() <= 1


@pytest.mark.parametrize("values", [RAMP, (RAMP * 1e8).astype(np.int32)])
def test_gray_without_a_white_point_goes_from_darkest_to_brightest(
    values: NDArray[np.generic],
) -> None:
    pixels = crop(encoded(Image.fromarray(values), "TIFF"))
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert abs(pixels.mean() - 127) < 3


def test_floats_that_are_not_numbers_become_black() -> None:
    values = np.full((48, 64), np.nan, np.float32)
    assert crop(encoded(Image.fromarray(values), "TIFF")).max() == 0


CLEAR_BLACK = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
PALETTE = Image.new("P", (64, 48), 1)
PALETTE.putpalette([255, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("picture", "form", "options"),
    [
        (CLEAR_BLACK, "PNG", {}),
        (CLEAR_BLACK, "WEBP", {"lossless": True}),
        (CLEAR_BLACK, "TIFF", {}),
        (CLEAR_BLACK.convert("LA"), "PNG", {}),
        (PALETTE, "PNG", {"transparency": 1}),
        (PALETTE, "PNG", {"transparency": b"\xff\0"}),
        (PALETTE, "GIF", {"transparency": 1}),
        (Image.new("RGB", (64, 48), "black"), "PNG", {"transparency": (0, 0, 0)}),
    ],
)
def test_transparent_pixels_become_white(
    picture: Image.Image, form: str, options: dict[str, object]
) -> None:
    assert crop(encoded(picture, form, **options)).min() == 255


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    assert (
        np.abs(crop(encoded(Image.new("RGBA", (64, 48), (255, 0, 0, 128)))) - (255, 127, 127)).max()
        <= 1
    )


@pytest.mark.parametrize("size", [(10_000, 1), (1, 10_000), (400_000, 2)])
def test_an_elongated_picture_is_never_enlarged_as_a_whole(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole picture would have up to 11 billion pixels at the resized size."""
    sizes: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def note(picture: Image.Image, size: tuple[int, int], *others: Any, **more: Any) -> Any:
        sizes.append(size)
        return resize(picture, size, *others, **more)

    monkeypatch.setattr(Image.Image, "resize", note)
    assert np.abs(crop(encoded(Image.new("RGB", size, "teal"))) - (0, 128, 128)).max() == 0
    assert sizes == [(PRESET.crop_size, PRESET.crop_size)]

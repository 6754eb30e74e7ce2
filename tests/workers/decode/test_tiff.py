"""Each kind of TIFF gives the right pixels or an error, and never wrong pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from shared.errors import DecodeFailed
from tests.workers.decode.preset import PRESET
from tests.workers.decode.test_preprocessing import crop, drawing, encoded
from workers.decode.preprocessing import decode

#: A drawing in which no two rows or columns are the same, so a wrong byte order shows.
RGB = np.asarray(drawing(300, 260))
#: Waves from black to white, because some kinds do not state white.
X, Y = np.meshgrid(np.linspace(0, 1, 300), np.linspace(0, 1, 260))
GRAY = np.rint(255 * (np.sin(9 * X + 4 * Y) + 1) / 2).astype(np.uint8)
DEEP = GRAY.astype(np.uint16) * 257
DEEP_RGB = RGB.astype(np.uint16) * 257
ALPHA = np.full(GRAY.shape, 255, np.uint8)

#: Byte order, BigTIFF, compression. Pillow does not read big-endian BigTIFF.
LAYOUTS = [
    (order, big, compression)
    for order in "<>"
    for big in (False, True)
    for compression in (None, "zlib")
    if not (big and order == ">")
]


def tiff(values: NDArray[Any], layout: tuple[str, bool, str | None], **options: Any) -> bytes:
    order, big, compression = layout
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, values, byteorder=order, bigtiff=big, compression=compression, **options
    )
    return buffer.getvalue()


def difference(data: bytes, picture: NDArray[np.uint8]) -> float:
    return float(np.abs(crop(data) - crop(encoded(Image.fromarray(picture)))).max())


def stretched(values: NDArray[Any]) -> NDArray[np.float64]:
    """Compare shapes: the crop of some kinds goes from its darkest to its brightest pixel."""
    spread = values.astype(np.float64) - values.min()
    return spread * 255 / spread.max()


GRAYS = {
    "8 bits": (GRAY, "minisblack"),
    "8 bits, white is zero": (255 - GRAY, "miniswhite"),
    "8 bits with a sign": ((GRAY.astype(int) - 128).astype(np.int8), "minisblack"),
    "16 bits": (DEEP, "minisblack"),
    "12 bits in 16": (DEEP >> 4, "minisblack"),
    "14 bits in 16": (DEEP >> 2, "minisblack"),
}
#: Kinds that Pillow reads in one byte order only.
GRAYS_OF_ONE_ORDER = {
    "16 bits, white is zero": (65_535 - DEEP, "miniswhite"),
    "12 bits in 16, white is zero": (4095 - (DEEP >> 4), "miniswhite"),
}
WITHOUT_WHITE = {
    "16 bits with a sign": (DEEP.astype(int) - 32_768).astype(np.int16),
    "32 bits with a sign": GRAY.astype(np.int32) * 8_000_000 - 2**30,
    "floats": GRAY.astype(np.float32) / 255,
}
COLOURS = {
    "16 bits": (DEEP_RGB, "rgb", {}),
    "CMYK of 16 bits": (
        np.asarray(Image.fromarray(RGB).convert("CMYK")).astype(np.uint16) * 257,
        "separated",
        {},
    ),
    "alpha of 16 bits": (
        np.dstack([DEEP_RGB, ALPHA.astype(np.uint16) * 257]),
        "rgb",
        {"extrasamples": ["unassalpha"]},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", GRAYS)
def test_gray_has_its_values(kind: str, layout: tuple[str, bool, str | None]) -> None:
    values, photometric = GRAYS[kind]
    data = tiff(values, layout, photometric=photometric)
    assert difference(data, GRAY) <= 1
    assert difference(tiff(values, layout, photometric=photometric, tile=(64, 64)), GRAY) <= 1


@pytest.mark.parametrize("layout", [each for each in LAYOUTS if each[0] == "<"])
@pytest.mark.parametrize("kind", GRAYS_OF_ONE_ORDER)
def test_white_is_zero_in_16_bits(kind: str, layout: tuple[str, bool, str | None]) -> None:
    values, photometric = GRAYS_OF_ONE_ORDER[kind]
    assert difference(tiff(values, layout, photometric=photometric), GRAY) <= 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", WITHOUT_WHITE)
def test_values_without_a_white_point_keep_their_order(
    kind: str, layout: tuple[str, bool, str | None]
) -> None:
    pixels = crop(tiff(WITHOUT_WHITE[kind], layout, photometric="minisblack"))
    wanted = crop(encoded(Image.fromarray(GRAY)))
    assert np.abs(stretched(pixels) - stretched(wanted)).max() <= 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_floats_whose_white_is_zero_are_inverted(layout: tuple[str, bool, str | None]) -> None:
    values = 1 - GRAY.astype(np.float32) / 255
    pixels = crop(tiff(values, layout, photometric="miniswhite"))
    wanted = crop(encoded(Image.fromarray(GRAY)))
    assert np.abs(stretched(pixels) - stretched(wanted)).max() <= 3


def test_32_bits_without_a_sign_do_not_wrap() -> None:
    values = GRAY.astype(np.uint32) * 16_843_009
    pixels = crop(tiff(values, ("<", False, None), photometric="minisblack"))
    wanted = crop(encoded(Image.fromarray(GRAY)))
    assert np.abs(stretched(pixels) - stretched(wanted)).max() <= 3


def test_12_bits_that_are_packed_reach_white() -> None:
    twelve = (DEEP >> 4).astype(np.uint32)
    first, second = twelve[:, 0::2], twelve[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=2)
    whole = bytearray(tiff(np.zeros_like(GRAY), ("<", False, None), photometric="minisblack"))
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        tags = file.pages[0].tags
        for name, value in (
            ("BitsPerSample", 12),
            ("StripOffsets", len(whole)),
            ("StripByteCounts", packed.size),
        ):
            place = tags[name].valueoffset
            whole[place : place + 4] = value.to_bytes(4, "little")
    data = bytes(whole) + packed.astype(np.uint8).tobytes()
    assert difference(data, GRAY) <= 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("planes", ["together", "apart", "apart, in strips", "apart, in tiles"])
@pytest.mark.parametrize("kind", COLOURS)
def test_colours_of_16_bits(kind: str, planes: str, layout: tuple[str, bool, str | None]) -> None:
    values, photometric, options = COLOURS[kind]
    if planes != "together":
        values = values.transpose(2, 0, 1)
        options = {**options, "planarconfig": "separate"}
    if planes == "apart, in strips":
        options["rowsperstrip"] = 50
    if planes == "apart, in tiles":
        options["tile"] = (64, 64)
    assert difference(tiff(values, layout, photometric=photometric, **options), RGB) <= 2


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("alpha", ["assocalpha", "unassalpha"])
def test_gray_with_alpha(alpha: str, layout: tuple[str, bool, str | None]) -> None:
    values = np.dstack([GRAY, ALPHA])
    options = {"photometric": "minisblack", "extrasamples": [alpha]}
    assert difference(tiff(values, layout, planarconfig="contig", **options), GRAY) <= 1


def test_lab_has_its_colours() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    picture = ImageCms.profileToProfile(Image.fromarray(RGB), srgb, lab, outputMode="LAB")
    assert picture is not None
    # Eight bits of L, a and b are coarser than those of the dark colours.
    assert np.abs(crop(encoded(picture, "TIFF")) - crop(encoded(Image.fromarray(RGB)))).mean() < 2


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (np.dstack([GRAY, ALPHA]).transpose(2, 0, 1), {"extrasamples": ["unassalpha"]}),
        (GRAY.astype(np.float64), {}),
        (GRAY.astype(np.float16), {}),
        (RGB.astype(np.float32), {"photometric": "rgb"}),
        (GRAY.astype(np.uint32), {"photometric": "miniswhite"}),
        (DEEP[:, :, None].repeat(2, axis=2), {"extrasamples": ["unassalpha"]}),
    ],
    ids=["planes of alpha", "64 bits", "half floats", "RGB of floats", "32 bits", "alpha of 16"],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_kind_that_cannot_be_read_right_is_an_error(
    values: NDArray[Any], options: dict[str, Any], compression: str | None
) -> None:
    options = {"photometric": "minisblack", "planarconfig": _planes(values), **options}
    with pytest.raises(DecodeFailed):
        decode(tiff(values, ("<", False, compression), **options), PRESET, max_pixels=10**8)


def _planes(values: NDArray[Any]) -> str | None:
    if values.ndim == 2:
        return None
    return "separate" if values.shape[0] == 2 else "contig"

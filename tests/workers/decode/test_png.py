"""What stands beside the pixels of a PNG does not decide whether it can be read."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from shared.errors import DecodeFailed
from tests.workers.decode.preset import PRESET
from tests.workers.decode.test_preprocessing import crop, drawing, encoded
from workers.decode.png import without_metadata
from workers.decode.preprocessing import decode

PLAIN = encoded(drawing(300, 260))
BEHIND_HEADER = 33


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def with_chunk(added: bytes, data: bytes = PLAIN) -> bytes:
    return data[:BEHIND_HEADER] + added + data[BEHIND_HEADER:]


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes().removeprefix(b"Exif\0\0")


def xmp(orientation: int) -> bytes:
    return b'<rdf:Description tiff:Orientation="%d"/>' % orientation


HISTORY = zlib.compress(b"history " * 250_000)
BESIDE_THE_PIXELS = {
    "a long text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 2_000_000),
    "a text that unpacks to 2 MB": chunk(b"zTXt", b"Raw profile type xmp\0\0" + HISTORY),
    "an EXIF profile that unpacks to 2 MB": chunk(b"zTXt", b"Raw profile type exif\0\0" + HISTORY),
    "XMP that unpacks to 2 MB": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + HISTORY),
    "XMP without an end": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1"),
    "a printer's profile": chunk(b"iCCP", b"press\0\0" + zlib.compress(os.urandom(2_000_000))),
    "many long texts": chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20 - 9))) * 70,
    "a wrong CRC in tEXt": chunk(b"tEXt", b"Comment\0hello", crc=1),
    "a wrong CRC in pHYs": chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1), crc=1),
    "a wrong CRC in iCCP": chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(500)), crc=1),
    "a wrong CRC in eXIf": chunk(b"eXIf", exif(6), crc=1),
    "a wrong CRC in tRNS": chunk(b"tRNS", bytes(6), crc=1),
    "a pHYs that is too short": chunk(b"pHYs", b"x"),
    "a gAMA that is too short": chunk(b"gAMA", b"x"),
}


@pytest.mark.parametrize("name", BESIDE_THE_PIXELS)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_damaged_or_large_metadata_does_not_matter(name: str, place: str) -> None:
    added = BESIDE_THE_PIXELS[name]
    data = with_chunk(added) if place == "before" else PLAIN[:-12] + added + PLAIN[-12:]
    assert np.array_equal(crop(data), crop(PLAIN))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_damage_of_a_critical_chunk_is_an_error(kind: bytes) -> None:
    data = bytearray(encoded(drawing(300, 260).convert("P")))
    data[data.index(kind) + 4 + 8] ^= 1
    with pytest.raises(DecodeFailed):
        decode(bytes(data), PRESET, max_pixels=50_000_000)


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"eXIf", exif(6)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0t\0" + zlib.compress(xmp(6))),
    ],
    ids=["EXIF", "XMP", "packed XMP"],
)
def test_the_orientation_is_still_read(added: bytes) -> None:
    upright = encoded(drawing(300, 260).transpose(Image.Transpose.ROTATE_270))
    assert np.abs(crop(with_chunk(added)) - crop(upright)).max() <= 2


def test_the_orientation_in_a_text_of_image_magick_is_still_read() -> None:
    packed = (b"Exif\0\0" + exif(6)).hex()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(packed) // 2}\n{packed}\n", zip=True)
    upright = encoded(drawing(300, 260).transpose(Image.Transpose.ROTATE_270))
    assert np.abs(crop(encoded(drawing(300, 260), pnginfo=info)) - crop(upright)).max() <= 2


def test_transparency_and_the_first_frame_are_still_read() -> None:
    clear = with_chunk(chunk(b"tRNS", bytes(6)), encoded(Image.new("RGB", (250, 250))))
    assert (crop(clear) == 255).all()
    frames = [drawing(300, 260), Image.new("RGB", (300, 260))]
    animation = encoded(frames[0], save_all=True, append_images=frames[1:])
    assert np.array_equal(crop(animation), crop(PLAIN))


def test_other_data_and_plain_pictures_are_not_copied() -> None:
    for data in (b"", b"text", PLAIN, encoded(drawing(9, 9), "JPEG"), PLAIN[:50]):
        assert without_metadata(data) is data

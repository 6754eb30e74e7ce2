"""A corpus of hostile pictures: damaged files, false headers, and files that are small to send and
expensive to decode.

All are made here, after the threats in Pillow's security handbook. Each names its right outcomes.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pillow_heif
from PIL import Image

from tests.workers.decode.dng import dng

pillow_heif.register_heif_opener(thumbnails=False)

OK = "succeeded"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "DNG")
_BAD = ("truncated_image", "decode_failed")
#: After a random change of bytes any of these is right.
ANY = (OK, *_BAD, "unsupported_format", "too_many_pixels", "too_much_memory", "empty_file")
#: Whether such a picture fits depends on the memory that the process holds already.
_EXPENSIVE = (OK, "decode_timeout", "too_much_memory")
#: The largest square that the limit on pixels allows.
_SIDE = 7000
_MEGABYTE = 10**6


class Hostile(NamedTuple):
    name: str
    data: bytes
    outcomes: tuple[str, ...]  #: Codes of errors, or OK.


def corpus(seed: int) -> list[Hostile]:
    return [*_foreign(), *_lies(), *_damage(random.Random(seed)), *_metadata(), *_bombs()]


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    # A copy, since Pillow keeps the options of a format in the picture, where they break the next.
    picture.copy().save(buffer, form, **options)
    return buffer.getvalue()


def png(
    width: int,
    height: int,
    *,
    before: bytes = b"",
    depth: int = 8,
    colour: int = 2,
    rows: bytes | None = None,
) -> bytes:
    """A PNG with the chunks `before` ahead of its data. It is black without `rows`."""
    if rows is None:
        samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        rows = bytes((width * samples * depth // 8 + 1) * height)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + data + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(entries: list[tuple[int, int, int, int]], data: bytes) -> bytes:
    """A TIFF with one directory of (tag, type, count, value or offset). `data` begins at 200."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    return head.ljust(200, b"\0") + data


def _small(form: str) -> bytes:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8))
    return dng(noise) if form == "DNG" else encoded(noise, form)


def _foreign() -> Iterator[Hostile]:
    """Formats that Pillow knows and the service refuses, with names of allowed formats."""
    heads = {
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "page.png": b"%PDF-1.7\n",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "text.jpg": b"this is text",
        "film.webp": b"RIFF\x24\0\0\0AVI LIST",
        "film.mp4": b"\0\0\0\x18ftypisom\0\0\0\0mp42isom",
        "layers.psd": b"8BPS\0\1" + bytes(40),
        "icons.ico": encoded(Image.new("RGB", (32, 32)), "ICO"),
        "plain.ppm": encoded(Image.new("RGB", (32, 32)), "PPM"),
        "jpeg2000.jpg": encoded(Image.new("RGB", (32, 32)), "JPEG2000"),
        "archive.png": b"PK\3\4" + bytes(60),
    }
    for name, data in heads.items():
        yield Hostile(name, data, ("unsupported_format",))
    yield Hostile("empty.jpg", b"", ("empty_file",))
    for name, head in {
        "big.tif": b"II+\0\x08\0\0\0",
        "photo.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "photo.avif": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
        "photo.raf": b"FUJIFILMCCD-RAW 0201",
        "photo.cr2": b"II*\0\x10\0\0\0CR\2\0",
        "photo.cr3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    }.items():
        yield Hostile(name, head + bytes(60), ("decode_failed",))


def _lies() -> Iterator[Hostile]:
    """Headers that are false."""
    yield Hostile("nothing.png", png(0, 0, rows=b""), _BAD)
    yield Hostile("bomb.png", png(100_000, 100_000, rows=b"x"), ("too_many_pixels",))
    yield Hostile("empty promise.png", png(6000, 6000, rows=b"x"), _BAD)
    webp = bytearray(encoded(Image.new("RGB", (60, 45)), "WEBP", lossless=True, exif=b"Exif\0\0x"))
    webp[24:30] = b"\xff\xff\xff\xff\xff\xff"  # a canvas of 16 million by 16 million
    yield Hostile("canvas.webp", bytes(webp), ("too_many_pixels", *_BAD))
    gif = bytearray(_small("GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield Hostile("screen.gif", bytes(gif), ("too_many_pixels",))
    for form in ("AVIF", "HEIF"):
        boxes = bytearray(_small(form))
        size = boxes.index(b"ispe") + 8
        boxes[size : size + 8] = struct.pack(">II", 60_000, 60_000)
        yield Hostile(f"extent.{form}", bytes(boxes), ("too_many_pixels", "too_much_memory", *_BAD))
        boxes = bytearray(_small(form))
        place = boxes.index(b"iloc") + 16
        boxes[place : place + 12] = b"\xff" * 12
        yield Hostile(f"places.{form}", bytes(boxes), (OK, *_BAD))
        yield Hostile(f"boxes.{form}", _nested_boxes(_small(form)), (OK, *_BAD))
    wide = [(256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1), (262, 3, 1, 1), (273, 4, 1, 200)]
    yield Hostile("wide.tif", tiff(wide, b""), ("too_many_pixels", *_BAD))
    loop = bytearray(tiff([(256, 4, 1, 8), (257, 4, 1, 8), (273, 4, 1, 200)], bytes(8)))
    loop[46:50] = struct.pack("<I", 8)  # the next directory is this one
    yield Hostile("loop.tif", bytes(loop), (OK, *_BAD))
    yield Hostile("pretend.gif", b"GIF89a/*" + b"alert(1)" * 8, (*_BAD, "unsupported_format"))


def _nested_boxes(data: bytes) -> bytes:
    """The first box, and then boxes in boxes."""
    first = int.from_bytes(data[:4], "big")
    inner = b""
    for _ in range(20_000):
        inner = (len(inner) + 12).to_bytes(4, "big") + b"meta" + bytes(4) + inner[:4_000]
    return data[:first] + inner + data[first:]


def _damage(chance: random.Random) -> Iterator[Hostile]:
    """Files that end too early, at many points, and files with flipped bits in every part."""
    for form in FORMATS:
        whole = _small(form)
        for percent in (2, 5, 10, 20, 35, 50, 65, 80, 90):
            data = whole[: len(whole) * percent // 100]
            yield Hostile(f"{percent} percent.{form}", data, (*_BAD, "unsupported_format"))
        for flips in range(20):
            data = bytearray(whole)
            for place in chance.choices(range(len(data) if flips % 2 else 64), k=1 + flips // 4):
                data[place] ^= 1 << chance.randrange(8)
            yield Hostile(f"flip {flips}.{form}", bytes(data), ANY)


def _metadata() -> Iterator[Hostile]:
    """Pictures of a few pixels with too much around them."""
    mebibyte = zlib.compress(bytes(2**20 - 9), 9)
    texts = [chunk(b"zTXt", b"k%d\0\0" % k + mebibyte) for k in range(100)]
    yield Hostile("texts.png", png(9, 9, before=b"".join(texts)), (OK,))
    text = b"k\0\1\0\0\0" + zlib.compress(bytes(300 * _MEGABYTE), 9)
    yield Hostile("text.png", png(9, 9, before=chunk(b"iTXt", text)), (OK,))
    profile = b"x\0\0" + zlib.compress(bytes(300 * _MEGABYTE), 9)
    yield Hostile("profile.png", png(9, 9, before=chunk(b"iCCP", profile)), (OK,))
    yield Hostile("chunks.png", png(9, 9, before=chunk(b"zzZz", b"") * 200_000), (OK,))
    many = b"".join(struct.pack("<HHII", tag, 7, 8_000_000, 8) for tag in range(1, 60_000))
    exif = (b"II*\0" + struct.pack("<IH", 8, 59_999) + many).ljust(8_000_100, b"\0")
    yield Hostile("overlapping exif.png", png(9, 9, before=chunk(b"eXIf", exif)), (OK,))
    jpeg = encoded(Image.new("L", (9, 9)), "JPEG")
    rubbish = b"Exif\0\0" + bytes(60_000)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(rubbish)) + rubbish
    yield Hostile("exif in pieces.jpg", jpeg[:2] + segment * 150 + jpeg[2:], (OK,))
    profile = b"ICC_PROFILE\0\1\1"
    segment = b"\xff\xe2" + struct.pack(">H", 2 + len(profile)) + profile
    yield Hostile("profiles.jpg", jpeg[:2] + segment * 200_000 + jpeg[2:], (OK,))
    gif = encoded(Image.new("P", (9, 9)), "GIF")
    frame = gif[gif.index(b",", 13) : -1]
    yield Hostile("frames.gif", gif[:-1] + frame * 100_000 + b";", (OK,))
    # The same directory many times; each points to the next.
    pages = bytearray(encoded(Image.new("L", (9, 9)), "TIFF"))
    (start,) = struct.unpack_from("<I", pages, 4)
    (entries,) = struct.unpack_from("<H", pages, start)
    directory = bytes(pages[start : start + 2 + 12 * entries])
    struct.pack_into("<I", pages, start + len(directory), len(pages))
    for left in reversed(range(50_000)):
        following = len(pages) + len(directory) + 4
        pages += directory + struct.pack("<I", following if left else 0)
    yield Hostile("directories.tif", bytes(pages), (OK,))


def _bombs() -> Iterator[Hostile]:
    """Files that only the limits on time and memory stop."""
    yield Hostile("passes.jpg", jpeg_of_many_passes(40_000), ("decode_timeout",))
    fill = encoded(Image.new("L", (9, 9)), "JPEG")
    padded = fill[:2] + b"\xff" * (20 * _MEGABYTE) + fill[2:]
    yield Hostile("padding.jpg", padded, _EXPENSIVE)
    yield Hostile("strips.tif", tiff_of_many_strips(4_900_000), _EXPENSIVE[1:])
    gif = encoded(Image.new("P", (9, 9)), "GIF")
    start = gif.index(b",", 13)
    comment = b"!\xfe" + b"\x01a" * (9 * _MEGABYTE) + b"\0"
    yield Hostile("comment.gif", gif[:start] + comment + gif[start:], ("too_much_memory",))
    yield Hostile("orientations.png", png_of_many_orientations(2_300_000), _EXPENSIVE)
    clear = png(_SIDE, _SIDE, colour=6)
    yield Hostile("clear.png", clear, _EXPENSIVE)
    keyed = png(_SIDE, _SIDE, before=chunk(b"tRNS", bytes(6)))
    yield Hostile("colour key.png", keyed, _EXPENSIVE)
    webp = encoded(Image.new("RGB", (_SIDE, _SIDE)), "WEBP", method=0, lossless=True)
    yield Hostile("large.webp", webp, ("too_much_memory", "decode_failed"))
    quick = {"quality": 10, "enc_params": {"preset": "ultrafast"}}  # else it takes eight seconds
    for form, options in (("AVIF", {"speed": 10}), ("HEIF", quick)):
        dark = encoded(Image.new("RGB", (_SIDE, _SIDE)), form, **options)
        yield Hostile(f"large.{form}", dark, (*_EXPENSIVE, "decode_failed"))
    short = encoded(Image.new("L", (_SIDE, _SIDE), 90), "JPEG")[:-2]
    yield Hostile("no end.jpg", short, (OK,))
    yield Hostile(
        "passes without an end.jpg", jpeg_of_many_passes(40_000)[:-2], ("decode_timeout",)
    )
    blank = Image.new("RGB", (3_000, 3_000), "white")
    film = encoded(blank, "WEBP", save_all=True, append_images=[blank] * 3)
    yield Hostile("blank.webp", film, (OK,))
    ink = Image.new("CMYK", (_SIDE, _SIDE))
    yield Hostile("ink.jpg", encoded(ink, "JPEG", progressive=True), (OK,))
    one = {278: _SIDE}  # rows per strip: all in one
    deep = encoded(Image.new("RGBA", (_SIDE, _SIDE)), "TIFF", compression="packbits", tiffinfo=one)
    yield Hostile("one strip.tif", deep, _EXPENSIVE)


def jpeg_of_many_passes(passes: int) -> bytes:
    """A progressive JPEG of 49 million pixels that refines the same coefficients many times."""
    whole = encoded(Image.new("L", (_SIDE, _SIDE), 90), "JPEG", progressive=True)
    first = whole.index(b"\xff\xda")
    start = whole.index(b"\xff\xda", first + 2)
    end = whole.index(b"\xff\xc4", start)  # the next pass brings its own Huffman table
    return whole[:end] + whole[start:end] * passes + whole[end:]


def tiff_of_many_strips(strips: int) -> bytes:
    """A picture of one column. Its header gives each row a place of its own in the file."""
    entries = [
        (256, 4, 1, 1),
        (257, 4, 1, strips),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, strips, 200),
        (277, 3, 1, 1),
        (278, 4, 1, 1),
        (279, 4, strips, 200),
    ]
    return tiff(entries, struct.pack("<I", 8) * strips)


def png_of_many_orientations(count: int) -> bytes:
    """One EXIF tag with millions of fractions. The decoder makes an object of each."""
    entry = struct.pack("<HHII", 0x0112, 10, count, 26)
    exif = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + b"\1" * (8 * count)
    return png(9, 9, before=chunk(b"eXIf", exif))

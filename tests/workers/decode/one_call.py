"""Small files whose decoder is a single call into C that lasts for minutes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()


def jpeg_of_empty_scans(side: int, scans: int, *, frame: int = 0xC0) -> bytes:
    """A square whose first component has so many scans, and none of them has data."""
    components = b"\1\x44\0\2\x11\0\3\x11\0"
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xDB, bytes(1) + b"\1" * 64),
            _segment(frame, struct.pack(">BHHB", 8, side, side, 3) + components),
            *(_segment(0xC4, bytes([table, 1, 1, *bytes(14), 0, 1])) for table in (0, 0x10)),
            *[_segment(0xDA, b"\1\1\0\0\x3f\0")] * scans,
            *(_segment(0xDA, bytes([1, each, 0, 0, 0x3F, 0])) for each in (2, 3)),
            b"\xff\xd9",
        )
    )


def heic_of_many_turns(side: int, turns: int) -> bytes:
    """A square in one colour, which its container turns so many times, 255 at most."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), "olive").save(file, "HEIF", quality=10)
    parts = dict(_boxes(file.getvalue()))
    pixels = parts[b"mdat"]
    meta = dict(_boxes(parts[b"meta"][4:]))
    decoder = dict(_boxes(dict(_boxes(meta[b"iprp"]))[b"ipco"]))[b"hvcC"]
    size = _box(b"ispe", bytes(4), struct.pack(">II", side, side))
    properties = _box(b"ipco", _box(b"hvcC", decoder), size, _box(b"irot", b"\1"))
    of_item = bytes([0x81, 2, *[0x83] * turns])
    owned = _box(b"ipma", bytes(4), struct.pack(">IHB", 1, 1, len(of_item)), of_item)
    kind = _box(b"infe", b"\2\0\0\0", struct.pack(">HH4sB", 1, 0, b"hvc1", 0))

    def head(start: int) -> bytes:
        place = struct.pack(">HHHHHII", 1, 1, 0, 0, 1, start, len(pixels))
        return _box(b"ftyp", b"heic\0\0\0\0mif1heic") + _box(
            b"meta",
            bytes(4),
            _box(b"hdlr", bytes(8), b"pict", bytes(13)),
            _box(b"pitm", bytes(4), b"\0\1"),
            _box(b"iloc", b"\1\0\0\0\x44\0", place),
            _box(b"iinf", bytes(4), b"\0\1", kind),
            _box(b"iprp", properties, owned),
        )

    return head(len(head(0)) + 8) + _box(b"mdat", pixels)


def tiff_of_large_tiles(height: int) -> bytes:
    """A picture that is one pixel wide, in tiles of 16,384 by 16 pixels, all of the same bytes."""
    across, down = 16_384, 16
    tile = zlib.compress(bytes(across * down), 9)
    return _tiff(height, tile, -(-height // down), 324, (322, across), (323, down))


def tiff_of_equal_strips(height: int) -> bytes:
    """A picture that is one pixel wide, in strips of a row, all of the same megabyte.

    The order of its bits is the other one (FillOrder), so the decoder copies and turns each strip.
    """
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in zlib.compress(b"\x80"))
    strip = turned.ljust(2**20, b"\0")
    return _tiff(height, strip, height, 273, (266, 2), (278, 1))


def _tiff(height: int, piece: bytes, pieces: int, begins: int, *more: tuple[int, int]) -> bytes:
    """A gray picture, one pixel wide, whose pieces are all the same compressed bytes.

    `begins` is the tag of their places. `more` are further tags with one value.
    """
    begin, sizes = 8 + len(piece), 8 + len(piece) + 4 * pieces
    lengths = 279 if begins == 273 else begins + 1
    single = [(256, 1), (257, height), (258, 8), (259, 8), (262, 1), (277, 1), *more]
    entries = [(tag, 1, value) for tag, value in single]
    entries += [(begins, pieces, begin), (lengths, pieces, sizes)]
    listed = b"".join(struct.pack("<HHII", tag, 4, *rest) for tag, *rest in sorted(entries))
    return b"".join(
        (
            struct.pack("<4sI", b"II*\0", sizes + 4 * pieces) + piece,
            struct.pack("<I", 8) * pieces + struct.pack("<I", len(piece)) * pieces,
            struct.pack("<H", len(entries)) + listed + bytes(4),
        )
    )


def _segment(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, 2 + len(content)) + content


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the content of each box."""
    while data:
        size, kind = struct.unpack_from(">I4s", data)
        yield kind, data[8:size]
        data = data[size:]


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content

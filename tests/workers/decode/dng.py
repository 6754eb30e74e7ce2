"""A camera RAW picture: a DNG with the sensor's values and a preview in JPEG."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

_BYTE, _TEXT, _SHORT, _LONG, _FRACTION = 1, 2, 3, 4, 10
_SIZES = {_BYTE: "B", _TEXT: "B", _SHORT: "H", _LONG: "I", _FRACTION: "i"}

#: A tag: number, kind, values. `_HERE` stands for the place of the data behind the directory.
_Tag = tuple[int, int, tuple[int, ...]]
_HERE = -1


def dng(picture: Image.Image, orientation: int = 1) -> bytes:
    """The preview shows `picture`. The sensor's values are gray, so that both can be told apart."""
    width, height = picture.size
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    preview = buffer.getvalue()
    sensor = np.full((height, width), 900, "<u2").tobytes()
    unit = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)
    main: list[_Tag] = [
        (254, _LONG, (1,)),
        (256, _LONG, (width,)),
        (257, _LONG, (height,)),
        (258, _SHORT, (8, 8, 8)),
        (259, _SHORT, (7,)),
        (262, _SHORT, (6,)),
        (271, _TEXT, tuple(b"Camera\0")),
        (272, _TEXT, tuple(b"Model\0")),
        (273, _LONG, (_HERE,)),
        (274, _SHORT, (orientation,)),
        (277, _SHORT, (3,)),
        (278, _LONG, (height,)),
        (279, _LONG, (len(preview),)),
        (330, _LONG, (8,)),
        (50706, _BYTE, (1, 4, 0, 0)),
        (50708, _TEXT, tuple(b"Camera Model\0")),
        (50721, _FRACTION, unit),
        (50778, _SHORT, (21,)),
    ]
    raw: list[_Tag] = [
        (254, _LONG, (0,)),
        (256, _LONG, (width,)),
        (257, _LONG, (height,)),
        (258, _SHORT, (16,)),
        (259, _SHORT, (1,)),
        (262, _SHORT, (32803,)),
        (273, _LONG, (_HERE,)),
        (277, _SHORT, (1,)),
        (278, _LONG, (height,)),
        (279, _LONG, (len(sensor),)),
        (33421, _SHORT, (2, 2)),
        (33422, _BYTE, (0, 1, 1, 2)),
    ]
    inner = _directory(raw, 8, sensor)
    start = 8 + len(inner)
    return b"II*\0" + struct.pack("<I", start) + inner + _directory(main, start, preview)


def _directory(tags: list[_Tag], start: int, data: bytes) -> bytes:
    """A directory at `start`, its longer values, and the data behind them."""
    behind = start + 2 + 12 * len(tags) + 4
    packed = {number: _pack(kind, values) for number, kind, values in tags if _HERE not in values}
    longer = b"".join(value for value in packed.values() if len(value) > 4)
    entries, at = b"", behind
    for number, kind, values in tags:
        value = packed.get(number) or struct.pack("<I", behind + len(longer))
        count = len(values) // (2 if kind == _FRACTION else 1)
        entries += struct.pack("<HHI", number, kind, count)
        entries += struct.pack("<I", at) if len(value) > 4 else value.ljust(4, b"\0")
        at += len(value) if len(value) > 4 else 0
    return struct.pack("<H", len(tags)) + entries + bytes(4) + longer + data


def _pack(kind: int, values: tuple[int, ...]) -> bytes:
    value = struct.pack(f"<{len(values)}{_SIZES[kind]}", *values)
    return value + bytes(len(value) % 2) if len(value) > 4 else value

"""JPEG pictures that lack only their end marker. Viewers show them."""

from __future__ import annotations

import io
from hashlib import sha256

from PIL import Image

from workers.decode.damage import DECODER_ERRORS

_END, _SCAN = b"\xff\xd9", b"\xff\xda"

#: Kinds of frames: baseline, extended, progressive.
_FRAMES = (0xC0, 0xC1, 0xC2)

#: What a decoder may find behind the pixels. It reads none of it if the last scan is complete. If
#: pixels are missing, it takes this for them, and each gives other pixels. The last one has all
#: markers at which a decoder goes on.
_REST = (
    b"",
    b"\x55" * 64,
    b"\xaa" * 64,
    b"".join(bytes([0xFF, 0xD0 + number]) + b"\x55" * 32 for number in range(8)),
)


def with_end(data: bytes, shorter: int) -> bytes | None:
    """The JPEG with its end marker, if it lacks only that; None if some of its pixels are missing.

    Its shorter side must be decoded with at least `shorter` pixels.
    """
    if not _has_every_scan(data):
        return None
    data = data.rstrip(b"\xff")  # The first half of the marker may be there.
    pictures = {_digest(data + rest + _END, shorter) for rest in _REST}
    return data + _END if len(pictures) == 1 and None not in pictures else None


def _has_every_scan(data: bytes) -> bool:
    """Whether each coefficient of each component has a scan with its last bit.

    A progressive JPEG has some ten scans, and shows a coarse picture without the last ones.
    """
    frame = _frame(data)
    if frame is None:
        return False
    components = data[frame + 9]
    complete: set[tuple[int, int]] = set()
    scan = frame
    while 0 <= (scan := data.find(_SCAN, scan + 2)) < len(data) - 14:
        count = data[scan + 4]
        first, last, bits = data[scan + 5 + 2 * count : scan + 8 + 2 * count]
        if bits & 15 == 0:
            members = data[scan + 5 : scan + 5 + 2 * count : 2]
            complete.update((each, k) for each in members for k in range(first, last + 1))
    return len(complete) == 64 * components


def _frame(data: bytes) -> int | None:
    """Where the header of the frame is. A thumbnail in EXIF has a frame of its own."""
    place = 2
    while place + 14 < len(data) and data[place] == 0xFF:
        if data[place + 1] in _FRAMES:
            return place
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _digest(data: bytes, shorter: int) -> bytes | None:
    """The digest of all pixels; None if they cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            image.draft(None, (shorter, shorter))
            return sha256(image.tobytes()).digest()
    except DECODER_ERRORS:
        return None

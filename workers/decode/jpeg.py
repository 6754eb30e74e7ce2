"""JPEG files: which may take long to decode, and which lack only their end marker."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from hashlib import sha256

from PIL import Image

from workers.decode.damage import DECODER_ERRORS

_END, _SCAN = b"\xff\xd9", b"\xff\xda"

#: Kinds of frames: baseline, extended, progressive.
_FRAMES = (0xC0, 0xC1, _PROGRESSIVE := 0xC2)

#: Other segments in front of a scan, and that of the scan: tables, data of applications, comments.
_SEGMENTS = frozenset({0xC4, 0xDA, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})

#: Segments in front of the first scan. Metadata of 20 MB have some 300 of 64 KB.
_MOST_SEGMENTS = 1000
_FILL = re.compile(rb"\xff+")

#: Pixels of all scans together. Without data, so many take a quarter of a second at most.
_QUICK_PIXELS = 300_000_000

#: What a decoder may find behind the pixels. It reads none of it if the last scan is complete. If
#: pixels are missing, it takes this for them, and each gives other pixels. The last one has all
#: markers at which a decoder goes on.
_REST = (
    b"",
    b"\x55" * 64,
    b"\xaa" * 64,
    b"".join(bytes([0xFF, 0xD0 + number]) + b"\x55" * 32 for number in range(8)),
)


def is_laborious(data: bytes) -> bool:
    """Whether a single call of the decoder may take long. Its time does not depend on the bytes.

    A scan without data gives all pixels of its component, and a hundred scans need a kilobyte. An
    arithmetic decoder reads zeros without end behind the end of its data.
    """
    frame = scan = None
    for kind, place in _segments(data):
        if kind in _FRAMES and frame is None:
            frame = place
        elif kind == _SCAN[1] and frame is not None:
            scan = place
    if frame is None or scan is None:
        return True
    height = int.from_bytes(data[frame + 5 : frame + 7], "big")
    width = int.from_bytes(data[frame + 7 : frame + 9], "big")
    is_whole = data[frame + 1] != _PROGRESSIVE and data[scan + 4] == data[frame + 9]
    # A decoder ends behind a scan that has everything. Otherwise it reads all of them.
    scans = 1 if is_whole else data.count(_SCAN, scan)
    return width * height * scans > _QUICK_PIXELS


def with_end(data: bytes, shorter: int) -> bytes | None:
    """The JPEG with its end marker, if it lacks only that; None if some of its pixels are missing.

    Viewers show such a picture.

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
    return next((place for kind, place in _segments(data) if kind in _FRAMES), None)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The kind and the place of each segment, up to the first scan or to what is unusual."""
    place = 2
    for _ in range(_MOST_SEGMENTS):
        # Any number of bytes FF may stand before a marker.
        fill = _FILL.match(data, place)
        if not fill or fill.end() + 14 > len(data):
            return
        place = fill.end() - 1
        kind = data[place + 1]
        if kind not in _SEGMENTS and kind not in _FRAMES:
            return
        yield kind, place
        if kind == _SCAN[1]:
            return
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def _digest(data: bytes, shorter: int) -> bytes | None:
    """The digest of all pixels; None if they cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            image.draft(None, (shorter, shorter))
            return sha256(image.tobytes()).digest()
    except DECODER_ERRORS:
        return None

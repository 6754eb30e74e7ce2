"""Leaves out the chunks of a PNG that its pixels do not need.

Pillow refuses a picture for a chunk that is damaged or large, even where it is a comment. A PNG is
a signature and chunks. A chunk is its length, its kind, its body and a CRC. The kind of a chunk
that no decoder needs begins with a small letter.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from workers.decode import profiles

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME_BYTES = 12  #: Length, kind and CRC.

#: Chunks that are not critical, but change the pixels or the orientation: transparency, EXIF, and
#: the frames of an animation.
_KEPT = (b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")

#: Texts that hold the orientation, by their beginning: an EXIF profile, or XMP.
_PROFILE = b"Raw profile type exif\0"
_XMP = b"XML:com.adobe.xmp\0"
_LONGEST_BEGINNING = 64

#: Pillow's limit on a text after unpacking.
_MAX_TEXT_BYTES = 2**20


def without_metadata(data: bytes) -> bytes:
    """The PNG without the chunks that it does not need; other data unchanged.

    Damage outside of these chunks stays as it is.
    """
    if not data.startswith(_SIGNATURE):
        return data
    kept, copied = [], 0
    for start, end in _unneeded(data):
        if start > copied:  # Two neighbours may be left out, and there may be many.
            kept.append(memoryview(data)[copied:start])
        copied = end
    return b"".join([*kept, memoryview(data)[copied:]]) if copied else data


def _unneeded(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the chunks that are left out begin and end."""
    start = len(_SIGNATURE)
    while start + _FRAME_BYTES <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + _FRAME_BYTES + length
        if kind == b"IEND" or end > len(data):
            return
        if kind[:1].islower() and not _is_needed(data, kind, start, end):
            yield start, end
        start = end


def _is_needed(data: bytes, kind: bytes, start: int, end: int) -> bool:
    """Whether a chunk that is not critical changes the result, and is whole."""
    body = start + 8, end - 4
    needed = kind in _KEPT or _is_usual_profile(data, kind, *body)
    if not needed and not _holds_orientation(data, kind, *body):
        return False
    (crc,) = struct.unpack_from(">I", data, end - 4)
    return bool(zlib.crc32(memoryview(data)[start + 4 : end - 4]) == crc)


def _holds_orientation(data: bytes, kind: bytes, start: int, end: int) -> bool:
    """Whether the body is a text with the orientation that Pillow can unpack."""
    beginning = data[start : min(end, start + _LONGEST_BEGINNING)]
    if kind == b"tEXt":
        return beginning.startswith(_PROFILE)
    if kind == b"zTXt":
        # The byte behind the key is the method.
        return beginning.startswith(_PROFILE) and _unpacks(data[start + len(_PROFILE) + 1 : end])
    if kind != b"iTXt" or not beginning.startswith(_XMP):
        return False
    if beginning[len(_XMP) : len(_XMP) + 1] != b"\1":
        return True
    # Behind the key come a flag and the method, then two texts: a language and a translated key.
    fields = data[start + len(_XMP) + 2 : end].split(b"\0", 2)
    return len(fields) == 3 and _unpacks(fields[2])


def _is_usual_profile(data: bytes, kind: bytes, start: int, end: int) -> bool:
    """Whether the body is an ICC profile of the size of a display's. A printer's is larger."""
    if kind != b"iCCP" or end - start > profiles.MAX_BYTES:
        return False
    # The byte behind the name is the method.
    name, _, packed = data[start:end].partition(b"\0")
    return 0 < len(name) < 80 and packed[:1] == b"\0" and _unpacks(packed[1:], profiles.MAX_BYTES)


def _unpacks(packed: bytes, most: int = _MAX_TEXT_BYTES) -> bool:
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, most)
    except zlib.error:
        return False
    return not unpacking.unconsumed_tail

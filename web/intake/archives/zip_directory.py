"""Where the central directory of a zip archive is.

The record at the archive's end says it, with offsets from the archive's start. Bytes may come in
front of that, for example the program of a self-extracting archive. Then all offsets are too small
by their number, as `unzip` reads them.
"""

from __future__ import annotations

import os
import struct
from typing import IO, NamedTuple

from shared.errors import BadArchive

#: The value of a 32-bit field whose number is in a ZIP64 record.
IN_ZIP64 = 0xFFFFFFFF

#: Signature of a record of the directory.
RECORD = b"PK\x01\x02"

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_LOCATOR = struct.Struct("<4sLQL")

_END_SIGNATURE, _END_64_SIGNATURE = b"PK\x05\x06", b"PK\x06\x06"

_LONGEST_COMMENT = 0xFFFF


class Directory(NamedTuple):
    """Offsets in the file, in bytes."""

    start: int
    end: int
    shift: int  #: What is to be added to the offsets of entries.


def find_directory(file: IO[bytes]) -> Directory:
    """Raises BadArchive if the directory is not where the archive's end says."""
    tail_at, tail = _tail(file)
    end = tail.rfind(_END_SIGNATURE)
    if end < 0 or len(tail) < end + _END.size:
        raise BadArchive("The archive has no end. It was probably cut off.")
    _, disk, _, _, count, length, offset, _ = _END.unpack_from(tail, end)
    at = tail_at + end
    if IN_ZIP64 in (length, offset) or count == 0xFFFF:
        at, disk, length, offset = _zip64_end(file, at) or (at, disk, length, offset)
    if disk not in (0, 0xFFFF) or offset + length > at:
        raise BadArchive("The archive's directory is not where its end record says.")
    # The offsets are right if the directory is there. Else it is right in front of the end record.
    if not _has_record(file, offset) and _has_record(file, at - length):
        return Directory(at - length, at, shift=at - length - offset)
    return Directory(offset, offset + length, shift=0)


def has_end(file: IO[bytes]) -> bool:
    """Whether the file ends as a zip archive does. Rewinds the file."""
    _, tail = _tail(file)
    file.seek(0)
    return _END_SIGNATURE in tail


def read_at(file: IO[bytes], position: int, length: int) -> bytes:
    """Exactly `length` bytes. Raises BadArchive if the file has fewer."""
    file.seek(position)
    data = file.read(length)
    if len(data) != length:
        raise BadArchive("The archive was cut off.")
    return data


def _tail(file: IO[bytes]) -> tuple[int, bytes]:
    """The offset and the bytes of the part of the file in which the end record may be."""
    at = max(0, file.seek(0, os.SEEK_END) - _END.size - _LONGEST_COMMENT)
    file.seek(at)
    return at, file.read()


def _has_record(file: IO[bytes], position: int) -> bool:
    file.seek(position)
    return file.read(len(RECORD)) == RECORD


def _zip64_end(file: IO[bytes], end_at: int) -> tuple[int, int, int, int] | None:
    """Of the ZIP64 end record: its offset and disk, and the directory's length and offset."""
    locator_at = end_at - _END_64_LOCATOR.size
    if locator_at < 0:
        return None
    signature, _, at, _ = _END_64_LOCATOR.unpack(read_at(file, locator_at, _END_64_LOCATOR.size))
    if signature != b"PK\x06\x07":
        return None
    # The locator's offset is too small if bytes come in front of the archive.
    for place in (at, locator_at - _END_64.size):
        if 0 <= place <= locator_at - _END_64.size:
            signature, _, _, _, disk, _, _, _, length, offset = _END_64.unpack(
                read_at(file, place, _END_64.size)
            )
            if signature == _END_64_SIGNATURE:
                return place, disk, length, offset
    raise BadArchive("The archive's directory is not where its end record says.")

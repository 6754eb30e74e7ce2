"""Entries of a zip archive, from its central directory.

The standard library's reader is not for strangers' archives: it holds a record for each entry
before one can count them, and a single name that is no UTF-8 fails them all. So the directory is
walked here, entry by entry; inflating and checking are zlib's.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, NamedTuple

from shared.errors import (
    BadArchive,
    ClassifierError,
    CorruptMember,
    EncryptedMember,
    NotAFile,
    UnsupportedCompression,
)
from web.intake.archives.entry import Entry

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_DIRECTORY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

_LONGEST_COMMENT = 0xFFFF
_IN_ZIP64 = 0xFFFFFFFF
_ENCRYPTED, _STRONGLY_ENCRYPTED, _UTF_8 = 1 << 0, 1 << 6, 1 << 11
_STORED, _DEFLATED = 0, 8
_UNIX, _MACOS = 3, 19

#: What deflating may add to bytes that do not compress, generously.
_OVERHEAD, _OVERHEAD_SHARE = 1024, 1000


class _Record(NamedTuple):
    """An entry of the central directory, as far as it matters."""

    name: bytes
    made_by: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    offset: int


def entries(file: IO[bytes]) -> Iterator[Entry]:
    """The entries in the directory's order. Raises BadArchive where it is damaged or cut off."""
    extents = []
    start, end = _directory(file)
    for record in _records(file, start, end):
        # Both headers and the name are there at least. The rest is checked where it is read.
        after = record.offset + _LOCAL.size + len(record.name) + record.packed
        if after > start:
            raise BadArchive("An entry lies outside of the archive.")
        extents.append((record.offset, after))
        yield _entry(file, record)
    _check_overlaps(extents)


def _check_overlaps(extents: list[tuple[int, int]]) -> None:
    """Entries that share their bytes unpack to more than was sent: no honest tool makes them."""
    extents.sort()
    for (_, after), (offset, _) in zip(extents, extents[1:], strict=False):
        if offset < after:
            raise BadArchive("Its entries overlap.")


def _directory(file: IO[bytes]) -> tuple[int, int]:
    """Where the central directory starts and ends."""
    size = file.seek(0, os.SEEK_END)
    tail_at = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_at)
    tail = file.read()
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) < found + _END.size:
        raise BadArchive("It has no end: it was cut off.")
    _, disk, _, _, count, length, offset, _ = _END.unpack_from(tail, found)
    at = tail_at + found
    if _IN_ZIP64 in (length, offset) or count == 0xFFFF:
        at, disk, length, offset = _zip64_directory(file, at) or (at, disk, length, offset)
    if disk not in (0, 0xFFFF) or offset + length > at:
        raise BadArchive("Its directory is not where it says.")
    return offset, offset + length


def _zip64_directory(file: IO[bytes], end_at: int) -> tuple[int, int, int, int] | None:
    """Where the larger end record is, its disk, and the directory's length and offset."""
    if end_at < _END_64_LOCATOR.size:
        return None
    signature, _, at, _ = _END_64_LOCATOR.unpack(
        _read(file, end_at - _END_64_LOCATOR.size, _END_64_LOCATOR.size)
    )
    if signature != b"PK\x06\x07":
        return None
    signature, _, _, _, disk, _, _, _, length, offset = _END_64.unpack(
        _read(file, at, _END_64.size)
    )
    if signature != b"PK\x06\x06":
        raise BadArchive("Its directory is not where it says.")
    return at, disk, length, offset


def _records(file: IO[bytes], position: int, end: int) -> Iterator[_Record]:
    while position < end:
        fields = _DIRECTORY.unpack(_read(file, position, _DIRECTORY.size))
        signature, made_by, _, flags, method, _, _, crc, packed, size, *rest = fields
        name_length, extra_length, comment_length, _, _, attributes, offset = rest
        if signature != b"PK\x01\x02":
            raise BadArchive("Its directory is damaged.")
        variable = _read(file, position + _DIRECTORY.size, name_length + extra_length)
        size, packed, offset = _zip64(variable[name_length:], size, packed, offset)
        yield _Record(
            name=variable[:name_length],
            made_by=made_by >> 8,
            flags=flags,
            method=method,
            crc=crc,
            packed=packed,
            size=size,
            mode=attributes >> 16,
            offset=offset,
        )
        position += _DIRECTORY.size + name_length + extra_length + comment_length


def _zip64(extra: bytes, *small: int) -> list[int]:
    """The same numbers, those that do not fit into 32 bits taken from the extra field."""
    numbers = b""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            numbers = extra[4 : 4 + length]
        extra = extra[4 + length :]
    found = []
    for number in small:
        if number == _IN_ZIP64 and len(numbers) >= 8:
            [number] = struct.unpack_from("<Q", numbers)
            numbers = numbers[8:]
        found.append(number)
    return found


def _entry(file: IO[bytes], record: _Record) -> Entry:
    return Entry(
        name=_name(record),
        size=record.size,
        read=partial(_unpack, file, record),
        is_folder=record.name.endswith(b"/") or stat.S_ISDIR(_unix_mode(record)),
        error=_refusal(record),
    )


def _name(record: _Record) -> str:
    """UTF-8 where it is, marked or not; else what DOS would have shown."""
    try:
        return record.name.decode()
    except UnicodeDecodeError:
        if record.flags & _UTF_8:
            return record.name.decode(errors="replace")
        return record.name.decode("cp437")


def _unix_mode(record: _Record) -> int:
    return record.mode if record.made_by in (_UNIX, _MACOS) else 0


def _refusal(record: _Record) -> ClassifierError | None:
    mode = _unix_mode(record)
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        return NotAFile()
    if record.flags & (_ENCRYPTED | _STRONGLY_ENCRYPTED):
        return EncryptedMember()
    if record.method not in (_STORED, _DEFLATED):
        return UnsupportedCompression()
    return None


def _unpack(file: IO[bytes], record: _Record) -> bytes:
    """An entry's bytes. Raises CorruptMember where they are not what the directory says."""
    # It may say that a gigabyte of packed bytes is a small picture.
    if record.packed > record.size + record.size // _OVERHEAD_SHARE + _OVERHEAD:
        raise CorruptMember
    try:
        local = _LOCAL.unpack(_read(file, record.offset, _LOCAL.size))
        start = record.offset + _LOCAL.size + sum(local[-2:])  # its own name and extra field
        data = _read(file, start, record.packed)
        if record.method == _DEFLATED:
            # One byte more tells an entry that is larger than it says; 0 would mean no limit.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, record.size + 1)
    except (BadArchive, zlib.error) as error:
        raise CorruptMember from error
    if len(data) != record.size or zlib.crc32(data) != record.crc:
        raise CorruptMember
    return data


def _read(file: IO[bytes], position: int, length: int) -> bytes:
    file.seek(position)
    data = file.read(length)
    if len(data) != length:
        raise BadArchive("It was cut off.")
    return data

"""Entries of a zip archive, from its central directory.

The directory is read here, entry by entry, because `zipfile` reads it whole: a hostile directory of
23 MB takes 183 MB of memory and 16 s. One name that is not UTF-8 also makes `zipfile` refuse the
archive, and `zipfile` of Python 3.11.7 accepts overlapping entries. zlib unpacks and checks.
"""

from __future__ import annotations

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
from web.intake.archives.effort import Effort
from web.intake.archives.entry import Entry
from web.intake.archives.zip_directory import (
    IN_ZIP64,
    RECORD,
    Directory,
    find_directory,
    read_at,
)

_DIRECTORY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

_ENCRYPTED, _STRONGLY_ENCRYPTED, _UTF_8 = 1 << 0, 1 << 6, 1 << 11
_STORED, _DEFLATED = 0, 8
_UNIX, _MACOS = 3, 19

#: Kinds of extra fields: numbers of more than 32 bits, and the name in UTF-8.
_ZIP64_FIELD, _NAME_FIELD = 0x0001, 0x7075

#: Upper limit of what deflate adds to data that does not compress: bytes, and one in so many.
_OVERHEAD, _OVERHEAD_SHARE = 1024, 1000


class _Record(NamedTuple):
    """The fields of an entry in the central directory that are used here."""

    name: bytes
    extra: dict[int, bytes]
    made_by: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    offset: int


def entries(file: IO[bytes], effort: Effort) -> Iterator[Entry]:
    """The entries in the directory's order. Raises BadArchive if it is damaged or cut off."""
    extents = []
    directory = find_directory(file)
    for record in _records(file, directory, effort):
        # An entry has at least a local header, its name and its data. `_unpack` checks the rest.
        after = record.offset + _LOCAL.size + len(record.name) + record.packed
        if after > directory.start:
            raise BadArchive("An entry of the archive lies outside of it.")
        extents.append((record.offset, after))
        yield _entry(file, record)
    _check_overlaps(extents)


def _check_overlaps(extents: list[tuple[int, int]]) -> None:
    """Refuse entries that share bytes. Only a zip bomb has them."""
    extents.sort()
    for (_, after), (offset, _) in zip(extents, extents[1:], strict=False):
        if offset < after:
            raise BadArchive("Entries of the archive overlap.")


def _records(file: IO[bytes], directory: Directory, effort: Effort) -> Iterator[_Record]:
    position = directory.start
    while position < directory.end:
        effort.add_entry()
        fields = _DIRECTORY.unpack(read_at(file, position, _DIRECTORY.size))
        signature, made_by, _, flags, method, _, _, crc, packed, size, *rest = fields
        name_length, extra_length, comment_length, _, _, attributes, offset = rest
        if signature != RECORD:
            raise BadArchive("The archive's directory is damaged.")
        variable = read_at(file, position + _DIRECTORY.size, name_length + extra_length)
        extra = _extra_fields(variable, name_length, effort)
        size, packed, offset = _zip64(extra.get(_ZIP64_FIELD, b""), size, packed, offset)
        yield _Record(
            name=variable[:name_length],
            extra=extra,
            made_by=made_by >> 8,
            flags=flags,
            method=method,
            crc=crc,
            packed=packed,
            size=size,
            mode=attributes >> 16,
            offset=directory.shift + offset,
        )
        position += _DIRECTORY.size + name_length + extra_length + comment_length


def _extra_fields(data: bytes, at: int, effort: Effort) -> dict[int, bytes]:
    """The extra fields that are used here, by kind. They begin at `at`."""
    fields = {}
    while at + 4 <= len(data):
        effort.spend()
        kind, length = struct.unpack_from("<2H", data, at)
        if kind in (_ZIP64_FIELD, _NAME_FIELD):
            fields[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return fields


def _zip64(numbers: bytes, *small: int) -> list[int]:
    """The numbers, with those that do not fit into 32 bits taken from the extra field."""
    values = []
    for number in small:
        if number == IN_ZIP64 and len(numbers) >= 8:
            [number] = struct.unpack_from("<Q", numbers)
            numbers = numbers[8:]
        values.append(number)
    return values


def _entry(file: IO[bytes], record: _Record) -> Entry:
    name = _name(record)
    return Entry(
        name=name,
        size=record.size,
        read=partial(_unpack, file, record),
        is_folder=name.endswith("/") or stat.S_ISDIR(_unix_mode(record)),
        error=_refusal(record),
    )


def _name(record: _Record) -> str:
    """The name as `unzip` reads it, with `/` between folders."""
    name = _unicode_name(record) or _decoded_name(record)
    # Some programs of Windows write backslashes. On Unix a backslash is a part of a name.
    if record.made_by not in (_UNIX, _MACOS) and "/" not in name:
        return name.replace("\\", "/")
    return name


def _unicode_name(record: _Record) -> str | None:
    """The name in the extra field that has it in UTF-8; None if that is of another name."""
    field = record.extra.get(_NAME_FIELD, b"")
    if len(field) <= 5 or struct.unpack_from("<BL", field) != (1, zlib.crc32(record.name)):
        return None
    try:
        return field[5:].decode()
    except UnicodeDecodeError:
        return None


def _decoded_name(record: _Record) -> str:
    """The name decoded as UTF-8 if it is valid UTF-8, else as cp437, the encoding of DOS."""
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
    """An entry's bytes. Raises CorruptMember if they differ from what the directory states."""
    # The directory may state a gigabyte of packed bytes for a small picture.
    if record.packed > record.size + record.size // _OVERHEAD_SHARE + _OVERHEAD:
        raise CorruptMember
    try:
        local = _LOCAL.unpack(read_at(file, record.offset, _LOCAL.size))
        start = (
            record.offset + _LOCAL.size + sum(local[-2:])
        )  # Its own name and extra field come first.
        data = read_at(file, start, record.packed)
        if record.method == _DEFLATED:
            # One byte more than stated reveals an entry that is larger. 0 would mean no limit.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, record.size + 1)
    except (BadArchive, zlib.error) as error:
        raise CorruptMember from error
    if len(data) != record.size or zlib.crc32(data) != record.crc:
        raise CorruptMember
    return data

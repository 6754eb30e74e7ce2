"""Entries of a tar archive, plain or gzipped, read once from front to back.

`tarfile` is not used. Version 3.11.7 ignores damaged extended headers, needs 3.4 s for one of
60 kB, and reads one of any length into memory. It also takes a damaged header for the end of the
archive, which would lose pictures.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from functools import partial
from typing import IO

from shared.errors import BadArchive, NotAFile
from web.intake.archives.effort import Effort
from web.intake.archives.entry import Entry
from web.intake.archives.streams import PIECE, Gunzip, Plain, Stream
from web.intake.archives.tar_header import BLOCK, Header, decode

#: Bytes of an extended header: a path and a few attributes. An attribute of macOS may be large.
_LONGEST_HEADER = 2**20

#: Bytes of a long name.
_LONGEST_NAME = 2**16

#: The start of a record `<length> <keyword>=<value>\n` of a pax header.
_PAX_LENGTH = re.compile(rb"([0-9]{1,7}) ")

#: Headers for one entry: its own, a pax header, a long name, a long link name, global ones.
_MOST_HEADERS = 8

#: An extended header takes as long as so many fields in it.
_FIELDS_OF_HEADER = 16

#: Offsets of the flag that another block of a sparse file's map follows: in the header, and in
#: each block of the map.
_SPARSE_GOES_ON, _SPARSE_MAP_GOES_ON = 482, 504


def entries(file: IO[bytes], effort: Effort) -> Iterator[Entry]:
    """The entries of a plain tar. Raises BadArchive if it is damaged or cut off."""
    return _entries(Plain(file), effort)


def gzip_entries(file: IO[bytes], effort: Effort, *, most_bytes: int) -> Iterator[Entry]:
    """The entries of a gzipped tar. Also raises ArchiveTooLarge past `most_bytes` unpacked."""
    return _entries(Gunzip(file, most_bytes, effort=effort), effort)


def _entries(source: Stream, effort: Effort) -> Iterator[Entry]:
    while (header := _next_header(source, effort)) is not None:
        effort.add_entry()
        left = _Unread(source, header.size)
        yield Entry(
            name=header.name,
            size=header.size,
            read=partial(left.read, header.size),
            is_folder=header.is_folder,
            error=None if header.is_regular else NotAFile(),
        )
        left.finish()
    # gzip's checksum follows the end of the tar, so the rest is read, too.
    while source.read(PIECE):
        pass


class _Unread:
    """The data between an entry's header and the next header."""

    def __init__(self, source: Stream, size: int) -> None:
        self._source = source
        self._left = size
        self._padding = -size % BLOCK

    def read(self, length: int) -> bytes:
        data = self._source.read(length)
        if len(data) != length:
            raise BadArchive("The archive was cut off.")
        self._left -= length
        return data

    def finish(self) -> None:
        self._source.skip(self._left + self._padding)


def _next_header(source: Stream, effort: Effort) -> Header | None:
    """The next entry's header with its extended headers applied; None at the archive's end."""
    name = size = None
    for _ in range(_MOST_HEADERS):
        header = _header(source, effort)
        if header is None:
            return None
        if header.type == tarfile.GNUTYPE_LONGNAME:
            name = _extended(source, header, _LONGEST_NAME).partition(b"\0")[0]
        elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            fields = _pax_fields(_extended(source, header, _LONGEST_HEADER), effort)
            name = fields.get(b"path", name)
            size = fields.get(b"size", size)
        elif header.type == tarfile.GNUTYPE_LONGLINK:
            _extended(source, header, _LONGEST_NAME)
        elif header.type == tarfile.XGLTYPE:
            _extended(source, header, _LONGEST_HEADER)
        else:
            return _completed(header, name, size)
        effort.spend(_FIELDS_OF_HEADER)
    raise BadArchive("An entry of the archive has too many headers.")


def _header(source: Stream, effort: Effort) -> Header | None:
    block = source.read(BLOCK)
    if len(block) != BLOCK:
        raise BadArchive("The archive has no end. It was probably cut off.")
    if block == bytes(BLOCK):
        return None
    header = decode(block)
    more = header.type == tarfile.GNUTYPE_SPARSE and block[_SPARSE_GOES_ON]
    while more:  # The map of the holes comes before the data and does not count in the size.
        effort.spend()
        block = source.read(BLOCK)
        more = len(block) == BLOCK and block[_SPARSE_MAP_GOES_ON]
    return header


def _completed(header: Header, name: bytes | None, size: bytes | None) -> Header:
    if name is not None:
        header = header._replace(name=name.decode(errors="replace"))
    if size is not None:
        if not (size.isdigit() and len(size) < 20):
            raise BadArchive("The size of an entry of the archive is not a number.")
        header = header._replace(size=int(size))
    return header if header.has_data else header._replace(size=0)


def _extended(source: Stream, header: Header, longest: int) -> bytes:
    if header.size > longest:
        raise BadArchive("A header of the archive is too long.")
    left = _Unread(source, header.size)
    data = left.read(header.size)
    left.finish()
    return data


def _pax_fields(data: bytes, effort: Effort) -> dict[bytes, bytes]:
    """`path` and `size`, from records `<length> <keyword>=<value>\\n` with their whole length."""
    fields: dict[bytes, bytes] = {}
    at, end = 0, len(data.rstrip(b"\0"))
    while at < end:
        effort.spend()
        match = _PAX_LENGTH.match(data, at)
        after = at + int(match[1]) if match else 0
        if not match or data[after - 1 : after] != b"\n":
            raise BadArchive("An extended header of the archive is damaged.")
        keyword_end = data.find(b"=", match.end(), after - 1)
        if keyword_end < 0:
            raise BadArchive("An extended header of the archive is damaged.")
        if (keyword := data[match.end() : keyword_end]) in (b"path", b"size"):
            fields[keyword] = data[keyword_end + 1 : after - 1]
        at = after
    return fields

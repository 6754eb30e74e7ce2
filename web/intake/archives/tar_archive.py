"""Entries of a tar archive, plain or gzipped, read once from front to back.

`tarfile` decodes each header. Extended headers are read here because `tarfile` of Python 3.11.7
ignores damaged ones and needs 3.4 s for one of 60 kB. It also reads an extended header of any
length into memory. The chain of headers is followed here because `tarfile` takes a damaged header
for the end of the archive, which would lose pictures. Gzip is read with zlib because `gzip` does
not limit the number of gzip members in a file.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, Protocol

from shared.errors import ArchiveTooLarge, BadArchive, ClassifierError, NotAFile
from web.intake.archives.entry import Entry

_BLOCK = 512
_PIECE = 2**16

#: Bytes of an extended header. Usual ones have some hundred: a path and a few attributes.
_LONGEST_HEADER = 2**16

#: Headers for one entry: its own, a pax header, a long name, a long link name, global ones.
_MOST_HEADERS = 8

#: Offsets of the flag that another block of a sparse file's map follows: in the header, and in
#: each block of the map.
_SPARSE_GOES_ON, _SPARSE_MAP_GOES_ON = 482, 504

#: Gzip members in one file. Tools that compress in blocks write one for every 64 KiB.
_MOST_GZIP_MEMBERS = 200_000


class _Source(Protocol):
    """A stream of bytes that is read forwards."""

    def read(self, length: int) -> bytes:
        """`length` bytes, or fewer at the end."""

    def skip(self, length: int) -> None: ...


def entries(file: IO[bytes]) -> Iterator[Entry]:
    """The entries of a plain tar. Raises BadArchive if it is damaged or cut off."""
    return _entries(_Plain(file))


def gzip_entries(file: IO[bytes], *, most_bytes: int) -> Iterator[Entry]:
    """The entries of a gzipped tar. Also raises ArchiveTooLarge past `most_bytes` unpacked."""
    return _entries(_Gunzip(file, most_bytes))


def gzip_head(file: IO[bytes], length: int) -> bytes:
    """The first `length` unpacked bytes, or fewer if it is damaged. Rewinds the file."""
    try:
        return _Gunzip(file, _PIECE).read(length)
    except ClassifierError:
        return b""
    finally:
        file.seek(0)


def _entries(source: _Source) -> Iterator[Entry]:
    while (header := _next_header(source)) is not None:
        left = _Unread(source, header.size)
        yield Entry(
            name=header.name,
            size=header.size,
            read=partial(left.read, header.size),
            is_folder=header.isdir(),
            error=None if _is_regular(header) else NotAFile(),
        )
        left.finish()
    # gzip's checksum follows the end of the tar, so the rest is read, too.
    while source.read(_PIECE):
        pass


def _is_regular(header: tarfile.TarInfo) -> bool:
    # `isreg()` is true for sparse files, too, whose size differs from that of their data.
    return header.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


class _Unread:
    """The data between an entry's header and the next header."""

    def __init__(self, source: _Source, size: int) -> None:
        self._source = source
        self._left = size
        self._padding = -size % _BLOCK

    def read(self, length: int) -> bytes:
        data = self._source.read(length)
        if len(data) != length:
            raise BadArchive("The archive was cut off.")
        self._left -= length
        return data

    def finish(self) -> None:
        self._source.skip(self._left + self._padding)


def _next_header(source: _Source) -> tarfile.TarInfo | None:
    """The next entry's header with its extended headers applied; None at the archive's end."""
    name = size = None
    for _ in range(_MOST_HEADERS):
        header = _header(source)
        if header is None:
            return None
        if header.type == tarfile.GNUTYPE_LONGNAME:
            name = _extended(source, header).partition(b"\0")[0]
        elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            fields = _pax_fields(_extended(source, header))
            name = fields.get(b"path", name)
            size = fields.get(b"size", size)
        elif header.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            _extended(source, header)
        else:
            return _completed(header, name, size)
    raise BadArchive("An entry of the archive has too many headers.")


def _header(source: _Source) -> tarfile.TarInfo | None:
    block = source.read(_BLOCK)
    if len(block) != _BLOCK:
        raise BadArchive("The archive has no end. It was probably cut off.")
    if block == bytes(_BLOCK):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        raise BadArchive("A header of the archive is damaged.") from error
    if header.size < 0:
        raise BadArchive("An entry of the archive has a negative size.")
    more = header.type == tarfile.GNUTYPE_SPARSE and block[_SPARSE_GOES_ON]
    while more:  # The map of the holes comes before the data and does not count in the size.
        block = source.read(_BLOCK)
        more = len(block) == _BLOCK and block[_SPARSE_MAP_GOES_ON]
    return header


def _completed(header: tarfile.TarInfo, name: bytes | None, size: bytes | None) -> tarfile.TarInfo:
    if name is not None:
        header.name = name.decode(errors="replace")
    if size is not None:
        if not (size.isdigit() and len(size) < 20):
            raise BadArchive("The size of an entry of the archive is not a number.")
        header.size = int(size)
    if header.isdir() or header.islnk() or header.issym() or header.isdev():
        header.size = 0  # No data follows, even if the header states a size.
    return header


def _extended(source: _Source, header: tarfile.TarInfo) -> bytes:
    if header.size > _LONGEST_HEADER:
        raise BadArchive("A header of the archive is too long.")
    left = _Unread(source, header.size)
    data = left.read(header.size)
    left.finish()
    return data


def _pax_fields(data: bytes) -> dict[bytes, bytes]:
    """Values by keyword, from records `<length> <keyword>=<value>\\n` with their whole length."""
    fields = {}
    while data.rstrip(b"\0"):
        digits, _, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 6 else 0
        keyword, equals, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not equals or data[length - 1 : length] != b"\n":
            raise BadArchive("An extended header of the archive is damaged.")
        fields[keyword] = value
        data = data[length:]
    return fields


class _Plain:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        file.seek(0)

    def read(self, length: int) -> bytes:
        return self._file.read(length)

    def skip(self, length: int) -> None:
        if self._file.tell() + length > self._size:
            raise BadArchive("The archive was cut off.")
        self._file.seek(length, os.SEEK_CUR)


class _Gunzip:
    """The unpacked bytes of a gzip file, at most `most_bytes` of them."""

    def __init__(self, file: IO[bytes], most_bytes: int) -> None:
        self._file = file
        self._most_bytes = most_bytes
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS + 16)
        self._packed = b""
        self._members = 1
        file.seek(0)

    def read(self, length: int) -> bytes:
        pieces = []
        while length and (piece := self._some(min(length, _PIECE))):
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def skip(self, length: int) -> None:
        while length:
            piece = self._some(min(length, _PIECE))
            if not piece:
                raise BadArchive("The archive was cut off.")
            length -= len(piece)

    def _some(self, most: int) -> bytes:
        """Between 1 and `most` bytes; none at the end."""
        while True:
            if self._inflater.eof and not self._next_member():
                return b""
            self._packed = self._packed or self._file.read(_PIECE)
            try:
                data = self._inflater.decompress(self._packed, most)
            except zlib.error as error:
                raise BadArchive("The archive is damaged: gzip cannot unpack it.") from error
            no_more = not self._packed
            self._packed = self._inflater.unconsumed_tail
            if data:
                self._count(len(data))
                return data
            if no_more and not self._inflater.eof:
                raise BadArchive("The archive was cut off.")

    def _count(self, length: int) -> None:
        self._most_bytes -= length
        if self._most_bytes < 0:
            raise ArchiveTooLarge("The archive unpacks to more bytes than allowed.")

    def _next_member(self) -> bool:
        """Start the gzip member that follows; False if there is none."""
        rest = self._inflater.unused_data or self._file.read(_PIECE)
        while rest and not (rest := rest.lstrip(b"\0")):  # Tapes pad with zeros.
            rest = self._file.read(_PIECE)
        if not rest:
            return False
        self._members += 1
        if self._members > _MOST_GZIP_MEMBERS:
            raise BadArchive("The archive consists of too many gzip members.")
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS + 16)
        self._packed = rest
        return True

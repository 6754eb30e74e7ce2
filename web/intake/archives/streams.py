"""The bytes of a tar as a stream that is read forwards: from a plain file, or from a gzip file.

Gzip is read with zlib because `gzip` does not limit the number of gzip members in a file.
"""

from __future__ import annotations

import io
import os
import zlib
from typing import IO, Protocol

from shared.errors import ArchiveTooLarge, BadArchive, ClassifierError
from web.intake.archives.effort import Effort

PIECE = 2**16

#: Packed bytes that are read at once. Each gzip member copies the rest of them.
_PACKED_PIECE = 2**14

#: Packed bytes in which the head of a tar must be. A stream may go on for long without any data.
_HEAD_BYTES = 2**16

#: Gzip members in one file: so many, and one for each so many unpacked bytes. Tools that compress
#: in blocks write one for every 64 KiB, or one for every small file.
_FREE_MEMBERS, _BYTES_FOR_MEMBER = 1_000, 2**10

_MAGIC = b"\x1f\x8b"


class Stream(Protocol):
    def read(self, length: int) -> bytes:
        """`length` bytes, or fewer at the end."""

    def skip(self, length: int) -> None:
        """Raises BadArchive if fewer bytes follow."""


class Plain:
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


def gzip_head(file: IO[bytes], length: int) -> bytes:
    """The first `length` unpacked bytes, or fewer if it is damaged. Rewinds the file."""
    try:
        # Unpacks no more than that, so damage behind it does not hide what the file is.
        file.seek(0)
        return Gunzip(io.BytesIO(file.read(_HEAD_BYTES)), PIECE, piece=length).read(length)
    except ClassifierError:
        return b""
    finally:
        file.seek(0)


class Gunzip:
    """The unpacked bytes of a gzip file, at most `most_bytes` of them.

    What follows the last gzip member is ignored if it is none, as `gunzip` does.
    """

    def __init__(
        self,
        file: IO[bytes],
        most_bytes: int,
        *,
        piece: int = PIECE,
        effort: Effort | None = None,
    ) -> None:
        self._file = file
        self._effort = effort or Effort()
        self._piece = piece  # Unpacked at once, at most.
        self._most_bytes = most_bytes
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS + 16)
        self._packed = b""
        self._unpacked = memoryview(b"")  # unpacked, and not read yet
        self._bytes = 0
        self._members = 1
        self._ended = False
        file.seek(0)

    def read(self, length: int) -> bytes:
        pieces = []
        while length and (piece := self._some(length)):
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def skip(self, length: int) -> None:
        while length:
            piece = self._some(length)
            if not piece:
                raise BadArchive("The archive was cut off.")
            length -= len(piece)

    def _some(self, most: int) -> memoryview:
        """Between 1 and `most` bytes; none at the end."""
        # A reader asks for 512 bytes at a time, and each call of zlib copies the packed rest.
        if not self._unpacked:
            self._unpacked = memoryview(self._unpack())
        piece, self._unpacked = self._unpacked[:most], self._unpacked[most:]
        return piece

    def _unpack(self) -> bytes:
        while True:
            if self._inflater.eof and not self._next_member():
                return b""
            self._packed = self._packed or self._file.read(_PACKED_PIECE)
            self._effort.check_time()
            try:
                data = self._inflater.decompress(self._packed, self._piece)
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
        self._bytes += length
        if self._bytes > self._most_bytes:
            raise ArchiveTooLarge("The archive unpacks to more bytes than allowed.")

    def _next_member(self) -> bool:
        """Start the gzip member that follows; False if there is none."""
        if self._ended:
            return False
        rest = self._inflater.unused_data or self._file.read(_PACKED_PIECE)
        while rest and not (rest := rest.lstrip(b"\0")):  # Tapes pad with zeros.
            rest = self._file.read(_PACKED_PIECE)
        if len(rest) == 1:
            rest += self._file.read(_PACKED_PIECE)
        if not rest.startswith(_MAGIC):
            self._ended = True
            return False
        self._members += 1
        if self._members > _FREE_MEMBERS + self._bytes // _BYTES_FOR_MEMBER:
            raise BadArchive("The archive consists of too many gzip members.")
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS + 16)
        self._packed = rest
        return True

"""A part as a raw body: a line of JSON with an entry for each item, then the bytes of all pictures.

The entries say how many bytes each picture has. So its bytes go from the socket to where they stay,
and are hashed on the way. In a form, a boundary would have to be searched in them.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import IO, Protocol

from shared.errors import InvalidRequest, WrongPartSize
from shared.formats import HEAD_BYTES
from shared.sizes import count_text
from web.intake.part_entries import count_of, named, read_entries
from web.intake.uploads import Upload, clean, clean_id, contents, fault
from web.schemas.submission import RawEntry

#: Bytes of a read, as for forms: an upload stands still if one of them takes too long.
_PIECE_BYTES = 2**16

#: Bytes of the first line. A form may have as many in its fields.
_MOST_IN_LINE = 500_000


class Stream(Protocol):
    """A request's body. A read gives less than it could only where the body ends."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class RawPart:
    """The body of a part of `items` items."""

    def __init__(self, stream: Stream, *, length: int | None, items: int, files: ExitStack) -> None:
        """`length` is that of the body, None if it comes in chunks. `files` closes its files."""
        self._stream = stream
        self._length = length
        self._items = items
        self._ahead = memoryview(b"")  #: Bytes of pictures that came with the first line.
        self._files = files

    def read(self, *, max_bytes: int, most_in_memory: int) -> list[Upload]:
        """The pictures, in order. One of more than `max_bytes` becomes an item with an error.

        A picture of more than `most_in_memory` bytes is kept on disk. Raises InvalidRequest,
        WrongPartSize, and ValidationError for malformed entries.
        """
        line = self._first_line()
        entries = read_entries(line, RawEntry, where="first line")
        self._check(entries, None if self._length is None else self._length - len(line) - 1)
        uploads = []
        for entry in entries:
            if entry.digest:
                uploads.append(named(entry, entry.digest))
            else:
                size = entry.size or 0
                uploads.append(self._picture(entry, size, max_bytes, most_in_memory))
        if self._length is None and self._read(memoryview(bytearray(1))):
            raise InvalidRequest("The body goes on after the bytes of the last picture.")
        return uploads

    def _first_line(self) -> bytes:
        line = bytearray()
        piece = memoryview(bytearray(_PIECE_BYTES))
        while size := self._read(piece):
            end = bytes(piece[:size]).find(b"\n")
            line += piece[: size if end < 0 else end]
            if len(line) > _MOST_IN_LINE:
                break
            if end >= 0:
                self._ahead = piece[end + 1 : size]
                return bytes(line)
        raise InvalidRequest(
            "The body of a part that is no form begins with a line of JSON that lists the items, "
            f"of at most {_MOST_IN_LINE:,} bytes."
        )

    def _check(self, entries: list[RawEntry], rest: int | None) -> None:
        """`rest` is the number of bytes after the first line, if it is known."""
        if len(entries) != self._items:
            raise WrongPartSize(
                f"This part has {count_text(self._items, 'item')}. "
                f"The first line had {count_of(entries)}."
            )
        for number, entry in enumerate(entries):
            if (entry.size is None) == (entry.digest is None):
                raise InvalidRequest(f"{number}: Give either the `size` or the `digest`.")
        sizes = sum(entry.size or 0 for entry in entries)
        if rest is not None and sizes != rest:
            raise InvalidRequest(
                f"The sizes of the items add up to {sizes} bytes, "
                f"and {rest} bytes follow after the first line."
            )

    def _picture(self, entry: RawEntry, size: int, max_bytes: int, most_in_memory: int) -> Upload:
        sha = hashlib.sha256()
        file: IO[bytes] = io.BytesIO()
        if size > max_bytes:  # its bytes are not kept
            for piece in self._through(size):
                sha.update(piece)
        elif size > most_in_memory:
            file = self._files.enter_context(tempfile.TemporaryFile())
            for piece in self._through(size):
                sha.update(piece)
                file.write(piece)
        else:
            file = io.BytesIO(bytes(size))  # it keeps these bytes, and they are not copied later
            for piece in self._into(file.getbuffer()):
                sha.update(piece)
        file.seek(0)
        return Upload(
            name=clean(entry.name),
            custom_id=clean_id(entry.custom_id),
            digest=sha.hexdigest(),
            size=size,
            read=partial(contents, file),
            error=fault(file.read(HEAD_BYTES), size, max_bytes=max_bytes),
        )

    def _through(self, size: int) -> Iterator[memoryview]:
        """The next bytes in pieces, which all have the same place in memory."""
        place = memoryview(bytearray(min(size, _PIECE_BYTES)))
        for start in range(0, size, _PIECE_BYTES):
            yield self._filled(place[: size - start])

    def _into(self, buffer: memoryview) -> Iterator[memoryview]:
        """The next bytes in pieces, which fill `buffer`."""
        for start in range(0, len(buffer), _PIECE_BYTES):
            yield self._filled(buffer[start : start + _PIECE_BYTES])

    def _filled(self, piece: memoryview) -> memoryview:
        left = piece
        while left:
            size = self._read(left)
            if not size:
                raise InvalidRequest("The body ended before the bytes of its last picture.")
            left = left[size:]
        return piece

    def _read(self, buffer: memoryview) -> int:
        if not self._ahead:
            return self._stream.readinto(buffer) or 0
        size = min(len(self._ahead), len(buffer))
        buffer[:size] = self._ahead[:size]
        self._ahead = self._ahead[size:]
        return size

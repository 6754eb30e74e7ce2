"""The body of a request. Its pictures are read while it is sent, and it is sent in small pieces.

A part of a job may have 32 large pictures, which are never in memory together.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import IO

import httpx

from ...regular_file import RegularFile

#: httpx copies what the socket does not accept of a piece, each time. A whole photo would be copied
#: several times.
_PIECE_BYTES = 2**18

#: Pieces that a thread reads for an event loop. A change of threads takes as long as reading one.
_READ_TOGETHER = 8


class PictureFile:
    """A file that is open only while it is read. httpx calls the methods without underscore."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises OSError if there is no such file."""
        self._path = path
        self.size = os.stat(path).st_size
        self._position = 0
        self._file: IO[bytes] | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (self.size if whence == os.SEEK_END else 0)
        self.close()
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        """The next bytes. Raises OSError if the file has another size than at first."""
        left = self.size - self._position
        if not left:
            self.close()
            return b""
        if self._file is None:
            self._file = RegularFile(self._path)
            self._file.seek(self._position)
        data = self._file.read(min(size, left))
        if not data or os.fstat(self._file.fileno()).st_size != self.size:
            raise OSError(f"{os.fspath(self._path)} was changed while it was sent.")
        self._position += len(data)
        return data

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None


class RawBody:
    """Pictures one after the other, behind a first line. It can be iterated several times."""

    def __init__(
        self, line: bytes, pictures: Sequence[bytes | PictureFile], content_type: str
    ) -> None:
        self._line = line
        self.pictures = pictures
        sizes = map(size_of, pictures)
        self.headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(line) + 1 + sum(sizes)),
        }

    def __iter__(self) -> Iterator[bytes]:
        yield self._line + b"\n"
        for picture in self.pictures:
            if isinstance(picture, bytes):
                yield picture
                continue
            picture.seek(0)
            while data := picture.read(_PIECE_BYTES):
                yield data


def size_of(picture: bytes | PictureFile) -> int:
    """The bytes of a picture."""
    return len(picture) if isinstance(picture, bytes) else picture.size


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The same bytes as `content`, which can be iterated several times; `files` are in it."""

    def __init__(self, content: Iterable[bytes], files: Iterable[bytes | PictureFile]) -> None:
        self._content = content
        self._files = [file for file in files if isinstance(file, PictureFile)]

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from _pieces(self._content)
        finally:
            for file in self._files:
                file.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self)
        # In a thread, because a disk may be slow.
        while few := await asyncio.to_thread(_first, pieces):
            for piece in few:
                yield piece


def _first(pieces: Iterator[bytes]) -> list[bytes]:
    return list(islice(pieces, _READ_TOGETHER))


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes: large chunks are cut, and small ones are joined."""
    together: list[bytes] = []
    size = 0
    for chunk in chunks:
        if size + len(chunk) > _PIECE_BYTES and together:
            yield b"".join(together)
            together, size = [], 0
        if len(chunk) > _PIECE_BYTES:
            for start in range(0, len(chunk), _PIECE_BYTES):
                yield chunk[start : start + _PIECE_BYTES]
        else:
            together.append(chunk)
            size += len(chunk)
    if size:
        yield b"".join(together)

"""A file on a disk. Reading anything else, such as a pipe, could wait for ever."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import Any, TypeVar

T = TypeVar("T")

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class RegularFile(io.FileIO):
    """The bytes of a file. A method that would wait raises BlockingIOError instead."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises OSError if this is no file, or if it cannot be opened."""
        if kind := _KINDS.get(stat.S_IFMT(os.stat(path).st_mode)):
            raise OSError(errno.EINVAL, f"It is {kind}, not a file.", os.fspath(path))
        super().__init__(path, "rb", opener=_without_waiting)

    def read(self, size: int | None = -1, /) -> bytes:
        data: bytes | None = super().read(-1 if size is None else size)
        return self._present(data)

    def readinto(self, buffer: Any, /) -> int:
        size: int | None = super().readinto(buffer)
        return self._present(size)

    def _present(self, result: T | None) -> T:
        if result is None:
            # Some files of /proc, such as kmsg, look like files on a disk.
            reason = "Reading it would wait, as with a pipe, so it is no picture."
            raise BlockingIOError(errno.EAGAIN, reason, self.name)
        return result


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # Windows does not have it.

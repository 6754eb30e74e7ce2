"""Finds the pictures of a folder: one after the other, in the order of names."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

#: What the service can read. By name only to leave other files at home; it judges by content.
PICTURES = ("*.jpg", "*.jpeg", "*.png", "*.webp", "*.gif", "*.bmp", "*.tif", "*.tiff")

#: Told of what is left out: the path below the folder, and why.
Left = Callable[[str, str], None]

#: Of a folder: device and inode, which its every name and link share.
_Identity = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Hidden files are left out, and a folder that links lead to a second time.

    Patterns are compared with the name, and those with a slash with the path below `folder`;
    capitals are the same.
    """

    folder: str
    recursive: bool = False
    include: Sequence[str] = PICTURES
    exclude: Sequence[str] = ()

    def files(self, left: Left) -> Iterator[str]:
        """Paths below `folder`. Raises OSError where the folder itself cannot be read.

        Holds the names of the folders that it is in, and nothing else of a file.
        """
        seen = {_identity(os.stat(self.folder))}
        # A list of its own instead of recursion: folders may be deeper than Python's stack.
        open_folders = [("", self._names(""))]
        while open_folders:
            inside, names = open_folders[-1]
            if not names:
                open_folders.pop()
                continue
            path = os.path.join(inside, names.pop())
            status = self._status(path)
            if status and stat.S_ISDIR(status.st_mode):
                if self._enter(path, _identity(status), seen, left):
                    open_folders.append((path, self._readable_names(path, left)))
            elif self._wanted(path):
                if status is None or stat.S_ISREG(status.st_mode):
                    yield path  # where it cannot be looked at, its row in the table will tell
                else:
                    # To open a pipe may wait for ever.
                    left(path, "not a file")

    def count(self) -> int:
        """How many `files` gives. Holds no names: it runs beside an upload, to tell what is left.

        Raises OSError as `files` does.
        """
        number = 0
        seen = {_identity(os.stat(self.folder))}
        folders = [""]
        while folders:
            inside = folders.pop()
            for path, is_folder in self._entries(inside):
                if not is_folder:
                    number += self._wanted(path)
                elif self._enter(path, _identity(self._stat(path)), seen, _say_nothing):
                    folders.append(path)
        return number

    def _entries(self, inside: str) -> Iterator[tuple[str, bool]]:
        """Paths in a folder, and whether each is one."""
        try:
            with os.scandir(os.path.join(self.folder, inside)) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        yield os.path.join(inside, entry.name), _is_folder(entry)
        except OSError:
            if not inside:
                raise

    def _stat(self, path: str) -> os.stat_result:
        return os.stat(os.path.join(self.folder, path))

    def _status(self, path: str) -> os.stat_result | None:
        """Of what a link leads to; None where that cannot be told."""
        try:
            return self._stat(path)
        except OSError:
            return None

    def _names(self, inside: str) -> list[str]:
        """Backwards, as they are taken from the end."""
        names = os.listdir(os.path.join(self.folder, inside))
        return sorted((name for name in names if not name.startswith(".")), reverse=True)

    def _readable_names(self, inside: str, left: Left) -> list[str]:
        try:
            return self._names(inside)
        except OSError as error:
            left(inside, error.strerror or type(error).__name__)
            return []

    def _enter(self, path: str, folder: _Identity, seen: set[_Identity], left: Left) -> bool:
        if not self.recursive or _matches(path, self.exclude):
            return False
        if folder in seen:
            left(path, "a link to a folder that is read already")
            return False
        seen.add(folder)
        return True

    def _wanted(self, path: str) -> bool:
        return _matches(path, self.include) and not _matches(path, self.exclude)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _say_nothing(path: str, why: str) -> None:
    """`files` tells it."""


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _matches(path: str, patterns: Sequence[str]) -> bool:
    path = path.lower()
    name = os.path.basename(path)
    return any(
        fnmatchcase(path if "/" in pattern else name, pattern.lower()) for pattern in patterns
    )

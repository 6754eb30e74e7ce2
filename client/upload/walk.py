"""The pictures in a folder, one after the other, in the order of their names."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .plan import path_key
from .skipped import INNER_FOLDER, NO_PICTURE

#: File names of the formats that the service reads. The service itself checks the content.
PICTURES = (
    *("*.jpg", "*.jpeg", "*.jpe", "*.jfif", "*.mpo", "*.png", "*.apng", "*.webp", "*.gif", "*.bmp"),
    *(
        "*.dib",
        "*.avif",
        "*.avifs",
        "*.heic",
        "*.heif",
        "*.hif",
        "*.dng",
        "*.cr2",
        "*.cr3",
        "*.nef",
    ),
    *("*.nrw", "*.arw", "*.orf", "*.rw2", "*.raf", "*.pef", "*.srw", "*.tif", "*.tiff"),
)

#: What operating systems put into folders. It is skipped without a word, as hidden files are.
_SYSTEM = frozenset({"__macosx", "thumbs.db", "desktop.ini"})

#: Called for each skipped path, relative to the folder, with the reason.
OnSkip = Callable[[str, str], None]

#: Device and inode: the same for every name of a folder, and for every link to it.
_Identity = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Hidden files and those of the operating system are skipped without a word. A folder that is
    reached a second time by a link is skipped.

    A pattern with a slash is compared with the path relative to `folder`, any other pattern with
    the file name. Upper and lower case are the same.
    """

    folder: str
    recursive: bool = False
    include: Sequence[str] = PICTURES
    exclude: Sequence[str] = ()

    def files(self, on_skip: OnSkip) -> Iterator[str]:
        """Paths relative to `folder`. Raises OSError if the folder itself cannot be read.

        Only the names in the folders on the way to the present file are in memory.
        """
        seen = {_identity(os.stat(self.folder))}
        # A stack instead of recursion: folders may be deeper than Python's own stack.
        stack = [("", self._names(""))]
        while stack:
            folder, names = stack[-1]
            if not names:
                stack.pop()
                continue
            path = os.path.join(folder, names.pop())
            status = self._status(path)
            if status and stat.S_ISDIR(status.st_mode):
                if self._enter(path, _identity(status), seen, on_skip):
                    stack.append((path, self._readable_names(path, on_skip)))
            elif self._wanted(path, on_skip):
                if status is None or stat.S_ISREG(status.st_mode):
                    yield path  # a file that cannot be read becomes a row with an error
                else:
                    # Opening a pipe may block for ever.
                    on_skip(path, "not a regular file")

    def count(self, *, besides: Container[bytes] = ()) -> int:
        """The number of paths that `files` yields, without those whose keys are in `besides`.

        Raises OSError as `files` does. No names are kept in memory. This runs beside an upload, for
        its progress bar.
        """
        number = 0
        seen = {_identity(os.stat(self.folder))}
        folders = [""]
        while folders:
            for path, is_folder in self._entries(folders.pop()):
                if not is_folder:
                    number += self._wanted(path, _ignore) and path_key(path) not in besides
                elif self._enter(path, _identity(self._stat(path)), seen, _ignore):
                    folders.append(path)
        return number

    def _entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        """The paths in a folder, and whether each is a folder."""
        try:
            with os.scandir(os.path.join(self.folder, folder)) as entries:
                for entry in entries:
                    if _is_shown(entry.name):
                        yield os.path.join(folder, entry.name), _is_folder(entry)
        except OSError:
            if not folder:
                raise

    def _stat(self, path: str) -> os.stat_result:
        return os.stat(os.path.join(self.folder, path))

    def _status(self, path: str) -> os.stat_result | None:
        """The status of the file, or of the target of a link. None if it cannot be read."""
        try:
            return self._stat(path)
        except OSError:
            return None

    def _names(self, folder: str) -> list[str]:
        """In reverse order: `files` takes them from the end."""
        names = os.listdir(os.path.join(self.folder, folder))
        return sorted(filter(_is_shown, names), reverse=True)

    def _readable_names(self, folder: str, on_skip: OnSkip) -> list[str]:
        try:
            return self._names(folder)
        except OSError as error:
            on_skip(folder, error.strerror or type(error).__name__)
            return []

    def _enter(self, path: str, identity: _Identity, seen: set[_Identity], on_skip: OnSkip) -> bool:
        if _matches(path, self.exclude):
            return False
        if not self.recursive:
            on_skip(path, INNER_FOLDER)
            return False
        if identity in seen:
            on_skip(path, "a link to a folder that was already read")
            return False
        seen.add(identity)
        return True

    def _wanted(self, path: str, on_skip: OnSkip) -> bool:
        if _matches(path, self.exclude):
            return False
        if not _matches(path, self.include):
            on_skip(path, NO_PICTURE)
            return False
        return True


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _SYSTEM


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _ignore(path: str, reason: str) -> None:
    """`files` reports it."""


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _matches(path: str, patterns: Sequence[str]) -> bool:
    path = path.lower()
    name = os.path.basename(path)
    return any(
        fnmatchcase(path if "/" in pattern else name, pattern.lower()) for pattern in patterns
    )

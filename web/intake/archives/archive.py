"""The pictures in an uploaded archive: `.zip`, `.tar` or `.tar.gz`, recognised by its content.

An archive is read twice. `scan` reads the headers, and a compressed tar whole. It refuses a damaged
or oversized archive before any picture is stored. `members` then reads the pictures one by one.
Both hold one member in memory at most and write nothing to disk. Every size that an archive states
is checked against a limit.

Folders and the files that operating systems add are skipped without a word. Files with the ending
of another kind (`.txt`) are skipped and counted, as the command and the page do with those of a
folder. Any other member that cannot be used becomes an item with an error, and the other members
are not affected.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import IO, NamedTuple

from shared.errors import (
    ArchiveTooLarge,
    BadArchive,
    ClassifierError,
    ImageTooLarge,
    NestedArchive,
    UnsafePath,
)
from shared.formats import ENDINGS, recognised
from shared.sizes import allowed, too_large
from web.intake.archives import tar_archive, zip_archive, zip_directory
from web.intake.archives.effort import Effort
from web.intake.archives.entry import Entry
from web.intake.archives.streams import gzip_head

#: Bytes from the start of a file that are needed to recognise its kind.
HEAD_BYTES = 512

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP = b"\x1f\x8b\x08"

#: Programs for Windows and Unix, and scripts. A zip archive behind one extracts itself.
_PROGRAMS = (b"MZ", b"\x7fELF", b"#!")
_TAR, _TAR_AT = b"ustar", 257

#: Endings of members that become items. An archive in an archive becomes one with an error.
_ITEMS = (*ENDINGS, ".zip", ".tar", ".gz", ".tgz")

#: A longer "ending" is a part of a name.
_LONGEST_ENDING = 12

#: Endings that are counted apart. Their job stores them, and an archive may have 100,000.
_MOST_ENDINGS = 50
_OTHERS = "others"

#: An archive gets a second more for each so many bytes. Any machine unpacks more than that.
_BYTES_A_SECOND = 10_000_000

_DRIVE = re.compile(r"[A-Za-z]:")


class Kind(Enum):
    ZIP = "zip"
    TAR = "tar"
    TAR_GZ = "tar.gz"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one archive."""

    members: int  #: Files and folders.
    unpacked_bytes: int  #: All members together, unpacked.
    ratio: int  #: Unpacked by packed bytes, past `free_bytes`.
    free_bytes: int  #: Allowed at any ratio: a request without an archive may carry as much.
    member_bytes: int  #: One picture.
    seconds: float = math.inf  #: Of processor time, to check an archive of few bytes.
    rest: Callable[[float], None] = lambda seconds: None  #: After so many seconds of a check.

    def unpacked(self, packed_bytes: int) -> int:
        """The limit of unpacked bytes for an archive of `packed_bytes`."""
        return min(self.unpacked_bytes, max(self.free_bytes, self.ratio * packed_bytes))

    def effort(self, packed_bytes: int) -> Effort:
        """The limit of time to check an archive of `packed_bytes`, which begins now."""
        return Effort(self.seconds + packed_bytes / _BYTES_A_SECOND, rest=self.rest)


class Contents(NamedTuple):
    """What an archive holds."""

    items: int  #: Members that become items.
    skipped: Mapping[str, int]  #: Files that are skipped, by ending.


class Member(NamedTuple):
    """A file of an archive: its bytes, or an error."""

    name: str  #: With its folders, as the archive states it. Do not use it as a path.
    data: bytes
    error: ClassifierError | None = None


def kind_of(file: IO[bytes]) -> Kind | None:
    """The kind of archive; None if the file is no archive. Rewinds the file."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head.startswith(_ZIP):
        return Kind.ZIP
    if _is_tar(head):
        return Kind.TAR
    if head.startswith(_GZIP) and _is_tar(gzip_head(file, HEAD_BYTES)):
        return Kind.TAR_GZ
    # `unzip` ignores bytes in front of an archive. A picture stays one, whatever is behind it.
    if not recognised(head) and zip_directory.has_end(file):
        return Kind.ZIP
    return None


def may_be_archive(head: bytes) -> bool:
    """Whether a file that begins with `head` can be an archive, or a program in front of one."""
    return begins_as_archive(head) or head.startswith(_PROGRAMS)


def scan(file: IO[bytes], kind: Kind, limits: Limits) -> Contents:
    """Check an archive and count its members.

    Raises BadArchive if it is damaged or cut off, ArchiveTooLarge if it exceeds a limit.
    """
    unpacked = items = 0
    skipped: Counter[str] = Counter()
    packed = file.seek(0, os.SEEK_END)
    effort = limits.effort(packed)
    for count, entry in enumerate(_entries(file, kind, limits, effort), 1):
        if count > limits.members:
            raise ArchiveTooLarge(f"The archive has more than {limits.members} files and folders.")
        if _is_ignored(entry):
            continue
        if other := _other_ending(entry):
            skipped[other] += 1
            continue
        items += 1
        if not _refusal(entry, limits):
            unpacked += entry.size
        if unpacked > limits.unpacked(packed):
            raise ArchiveTooLarge(
                f"The archive unpacks to more than {allowed(limits.unpacked(packed))}."
            )
    return Contents(items, _most_frequent(skipped))


def _most_frequent(skipped: Counter[str]) -> dict[str, int]:
    """The most frequent endings, and the sum of all others."""
    frequent = dict(skipped.most_common(_MOST_ENDINGS))
    others = skipped.total() - sum(frequent.values())
    return frequent | ({_OTHERS: others} if others else {})


def members(file: IO[bytes], kind: Kind, limits: Limits) -> Iterator[Member]:
    """Read the members of an archive that `scan` has accepted, in its order, one at a time.

    Two members may have the same name. Raises BadArchive or ArchiveTooLarge if the rest cannot be
    read.
    """
    # `scan` has taken the time, so there is no limit here. Each member may be read by another
    # thread, and threads have clocks of their own.
    effort = Effort(rest=limits.rest)
    for entry in _entries(file, kind, limits, effort):
        if not (_is_ignored(entry) or _other_ending(entry)):
            member = _member(entry, limits)
            effort.check_time()
            yield member
            effort.resume()


def _entries(file: IO[bytes], kind: Kind, limits: Limits, effort: Effort) -> Iterator[Entry]:
    packed = file.seek(0, os.SEEK_END)
    file.seek(0)
    if kind is Kind.ZIP:
        return zip_archive.entries(file, effort)
    if kind is Kind.TAR:
        return tar_archive.entries(file, effort)
    return tar_archive.gzip_entries(file, effort, most_bytes=limits.unpacked(packed))


def _member(entry: Entry, limits: Limits) -> Member:
    error = _refusal(entry, limits)
    if error:
        return Member(entry.name, b"", error)
    try:
        data = entry.read()
    except ClassifierError as damage:
        if isinstance(damage, (BadArchive, ArchiveTooLarge)):
            raise  # The members after this one cannot be read either.
        return Member(entry.name, b"", damage)
    if begins_as_archive(data[:HEAD_BYTES]):
        return Member(entry.name, b"", NestedArchive())
    return Member(entry.name, data)


def _refusal(entry: Entry, limits: Limits) -> ClassifierError | None:
    """Why an entry must not be read, or None."""
    if entry.error:
        return entry.error
    if _leaves(entry.name):
        return UnsafePath()
    if entry.size > limits.member_bytes:
        size = too_large(entry.size, limits.member_bytes, "MAX_IMAGE_BYTES")
        return ImageTooLarge(f"The file has {size}.")
    return None


def begins_as_archive(head: bytes) -> bool:
    return head.startswith((*_ZIP, _GZIP)) or _is_tar(head)


def _is_tar(head: bytes) -> bool:
    return head.startswith(_TAR, _TAR_AT)


def _other_ending(entry: Entry) -> str:
    """The ending of a file of another kind; empty if the file becomes an item.

    The content of a file without an ending decides.
    """
    ending = os.path.splitext(entry.name.rstrip("/"))[1].lower()
    is_ending = 1 < len(ending) <= _LONGEST_ENDING and ending.isascii() and ending.isprintable()
    return ending if is_ending and ending not in _ITEMS else ""


def _is_ignored(entry: Entry) -> bool:
    """Whether an entry is a folder or a file that Finder or Explorer added."""
    folders, _, name = entry.name.rstrip("/").rpartition("/")
    return (
        entry.is_folder
        or "/__MACOSX/" in f"/{folders}/"
        or name in (".DS_Store", "Thumbs.db", "desktop.ini")
        or name.startswith("._")
    )


def _leaves(name: str) -> bool:
    """Whether a name leads out of the folder into which the archive would be unpacked."""
    name = name.replace("\\", "/")
    return name.startswith("/") or bool(_DRIVE.match(name)) or "/../" in f"/{name}/"

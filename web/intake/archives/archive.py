"""An uploaded archive as pictures: `.zip`, `.tar` or `.tar.gz`, told by content.

It is looked through twice. `scan` reads all that says what is in it, and for a compressed tar all
of it: a damaged or oversized archive is refused before a picture of it is stored. `members` then
reads the pictures one after the other. Neither holds more than one member, nothing is written to
disk, and no number that the archive tells of itself is believed further than a limit.

Folders and what operating systems leave beside pictures are passed over. A member that is no good
is an item with an error, and its neighbours are not touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
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
from web.intake.archives import tar_archive, zip_archive
from web.intake.archives.entry import Entry

#: What the head of a file must hold for its kind to be told.
HEAD_BYTES = 512

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP = b"\x1f\x8b\x08"
_TAR, _TAR_AT = b"ustar", 257

_DRIVE = re.compile(r"[A-Za-z]:")


class Kind(Enum):
    ZIP = "zip"
    TAR = "tar"
    TAR_GZ = "tar.gz"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one archive may cost."""

    members: int  #: Files and folders in it.
    unpacked_bytes: int  #: All of it, unpacked.
    ratio: int  #: Unpacked by packed bytes, past `free_bytes`.
    free_bytes: int  #: May be unpacked whatever the ratio: a client could send as much as it is.
    member_bytes: int  #: Largest picture.

    def unpacked(self, packed_bytes: int) -> int:
        """Bytes that an archive of this size may come to."""
        return min(self.unpacked_bytes, max(self.free_bytes, self.ratio * packed_bytes))


class Member(NamedTuple):
    """A file of an archive: its bytes, or what is wrong with it."""

    name: str  #: With its folders; as the archive says it, so not to be trusted.
    data: bytes
    error: ClassifierError | None = None


def kind_of(file: IO[bytes]) -> Kind | None:
    """What kind of archive a file is; None for anything else. Leaves it at its start."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head.startswith(_ZIP):
        return Kind.ZIP
    if _is_tar(head):
        return Kind.TAR
    if head.startswith(_GZIP) and _is_tar(tar_archive.gzip_head(file, HEAD_BYTES)):
        return Kind.TAR_GZ
    return None


def may_be_archive(head: bytes) -> bool:
    """Whether a file that begins like this can be an archive."""
    return head.startswith((*_ZIP, _GZIP)) or _is_tar(head)


def scan(file: IO[bytes], kind: Kind, limits: Limits) -> int:
    """Look through an archive; gives the number of its members that will be items.

    Raises BadArchive where it is damaged or cut off, ArchiveTooLarge past a limit.
    """
    unpacked = items = 0
    packed = file.seek(0, os.SEEK_END)
    for count, entry in enumerate(_entries(file, kind, limits), 1):
        if count > limits.members:
            raise ArchiveTooLarge(f"More than {limits.members} files and folders.")
        if _is_passed_over(entry):
            continue
        items += 1
        if not _refusal(entry, limits):
            unpacked += entry.size
        if unpacked > limits.unpacked(packed):
            raise ArchiveTooLarge(f"It unpacks to more than {limits.unpacked(packed)} bytes.")
    return items


def members(file: IO[bytes], kind: Kind, limits: Limits) -> Iterator[Member]:
    """The members of an archive that `scan` has let pass, in its order, each read when asked for.

    A name may come twice; each is a member.
    """
    for entry in _entries(file, kind, limits):
        if not _is_passed_over(entry):
            yield _member(entry, limits)


def _entries(file: IO[bytes], kind: Kind, limits: Limits) -> Iterator[Entry]:
    packed = file.seek(0, os.SEEK_END)
    file.seek(0)
    if kind is Kind.ZIP:
        return zip_archive.entries(file)
    if kind is Kind.TAR:
        return tar_archive.entries(file)
    return tar_archive.gzip_entries(file, most_bytes=limits.unpacked(packed))


def _member(entry: Entry, limits: Limits) -> Member:
    error = _refusal(entry, limits)
    if error:
        return Member(entry.name, b"", error)
    try:
        data = entry.read()
    except ClassifierError as damage:
        if isinstance(damage, (BadArchive, ArchiveTooLarge)):
            raise  # nothing after this can be read either
        return Member(entry.name, b"", damage)
    if may_be_archive(data[:HEAD_BYTES]):
        return Member(entry.name, b"", NestedArchive())
    return Member(entry.name, data)


def _refusal(entry: Entry, limits: Limits) -> ClassifierError | None:
    """Why an entry is not to be read, if it is not."""
    if entry.error:
        return entry.error
    if _leaves(entry.name):
        return UnsafePath()
    if entry.size > limits.member_bytes:
        return ImageTooLarge(f"It has {entry.size} bytes; {limits.member_bytes} are allowed.")
    return None


def _is_tar(head: bytes) -> bool:
    return head.startswith(_TAR, _TAR_AT)


def _is_passed_over(entry: Entry) -> bool:
    """Folders, and what Finder and Explorer leave beside pictures."""
    *folders, name = entry.name.rstrip("/").split("/")
    return (
        entry.is_folder
        or "__MACOSX" in folders
        or name in (".DS_Store", "Thumbs.db", "desktop.ini")
        or name.startswith("._")
    )


def _leaves(name: str) -> bool:
    """Whether a name points out of the folder that somebody would unpack into."""
    name = name.replace("\\", "/")
    return name.startswith("/") or bool(_DRIVE.match(name)) or ".." in name.split("/")

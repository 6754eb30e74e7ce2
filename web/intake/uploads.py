"""One uploaded picture: its name, size, format by content, digest. Decoding is the workers'."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from shared.errors import EmptyFile, ImageTooLarge, UnsupportedFormat

_MAX_NAME = 512

_SIGNATURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",  # TIFF, little-endian
    b"MM\x00*",  # TIFF, big-endian
)


class Upload(NamedTuple):
    name: str
    data: bytes
    digest: str  #: SHA-256, hex.


def read_upload(name: str | None, data: bytes) -> Upload:
    return Upload(clean(name or ""), data, hashlib.sha256(data).hexdigest())


def check(data: bytes, *, max_bytes: int, size: int | None = None) -> None:
    """Refuse what no worker need look at; `size` where `data` is no more than its first bytes.

    By content: a name or a Content-Type is only what the sender says.
    """
    size = len(data) if size is None else size
    if not size:
        raise EmptyFile
    if size > max_bytes:
        raise ImageTooLarge(f"The file has {size} bytes; {max_bytes} are allowed.")
    if not (data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")):
        raise UnsupportedFormat


def clean(name: str) -> str:
    """A name is echoed in answers, tables and logs: no control characters, bounded length."""
    return "".join(each if each.isprintable() else "\ufffd" for each in name[-_MAX_NAME:])

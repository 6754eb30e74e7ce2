"""One header block of a tar archive.

`tarfile` decodes all sixteen fields of a header, which takes three times as long, and a client
chooses how many headers there are. Only the fields that are used are decoded here.
"""

from __future__ import annotations

import tarfile
from typing import NamedTuple

from shared.errors import BadArchive

BLOCK = 512

#: Where the fields are.
_NAME, _SIZE, _CHECKSUM, _TYPE, _PREFIX = (
    slice(0, 100),
    slice(124, 136),
    slice(148, 156),
    slice(156, 157),
    slice(345, 500),
)

#: First byte of a number that does not fit into octal digits: positive or negative.
_POSITIVE, _NEGATIVE = 0o200, 0o377

#: Types of headers without a prefix of the name: programs use its place for other fields.
_WITHOUT_PREFIX = frozenset(tarfile.GNU_TYPES)

#: Types of entries without data, even if the header states a size.
_WITHOUT_DATA = frozenset(
    {
        *(tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE),
        *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
    }
)

# A sparse file is none of these: its size differs from that of its data.
_REGULAR = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})


class Header(NamedTuple):
    name: str
    size: int  #: Bytes of the data that follow.
    type: bytes

    @property
    def is_folder(self) -> bool:
        return self.type == tarfile.DIRTYPE

    @property
    def is_regular(self) -> bool:
        return self.type in _REGULAR

    @property
    def has_data(self) -> bool:
        return self.type not in _WITHOUT_DATA


def decode(block: bytes) -> Header:
    """The header in a block of 512 bytes. Raises BadArchive if it is damaged."""
    if not _is_whole(block):
        raise BadArchive("A header of the archive is damaged.")
    name, size, kind = _text(block[_NAME]), _number(block[_SIZE]), block[_TYPE]
    if size < 0:
        raise BadArchive("An entry of the archive has a negative size.")
    if kind == tarfile.AREGTYPE and name.endswith("/"):  # as the oldest programs write a folder
        kind = tarfile.DIRTYPE
    prefix = block[_PREFIX]
    if prefix[0] and kind not in _WITHOUT_PREFIX:
        name = f"{_text(prefix)}/{name}"
    return Header(name, size, kind)


def _is_whole(block: bytes) -> bool:
    stated = _number(block[_CHECKSUM])
    others = block[: _CHECKSUM.start] + block[_CHECKSUM.stop :]
    unsigned = 256 + sum(others)  # the eight bytes of the checksum count as spaces
    # Some old programs add up signed bytes.
    return stated == unsigned or stated == unsigned - 256 * sum(byte > 127 for byte in others)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _number(field: bytes) -> int:
    if field[0] in (_POSITIVE, _NEGATIVE):
        return int.from_bytes(field[1:], "big", signed=field[0] == _NEGATIVE)
    try:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError as error:
        raise BadArchive("A header of the archive is damaged.") from error

"""Archives made with the standard library's writers, or header by header."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence

Files = Sequence[tuple[str, bytes]]
Make = Callable[[Files], bytes]


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            # Without the time of day, so that the same files give the same archive.
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return out.getvalue()


def stored(files: Files) -> bytes:
    return zipped(files, zipfile.ZIP_STORED)


def streamed(files: Files) -> bytes:
    """A zip from a tool that cannot seek: the sizes stand behind the data."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


def zip64(files: Files) -> bytes:
    """A zip with the records that archives of more than 4 GiB have."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files:
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    data = out.getvalue()
    end = data.rfind(b"PK\x05\x06")
    *_, count, length, offset, _ = struct.unpack("<4s4H2LH", data[end:])
    larger = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, offset
    )
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    return data[:end] + larger + locator + last


def zip_of(*files: tuple[bytes, bytes, bytes], made_by: int = 0) -> bytes:
    """A zip of stored files: raw names, extra fields and data. `made_by` is the system's number."""
    out = directory = b""
    for name, extra, data in files:
        at, crc, size = len(out), zlib.crc32(data), len(data)
        lengths = 20, 0, 0, 0, 0x21, crc, size, size, len(name), len(extra)
        out += struct.pack("<4s5H3L2H", b"PK\3\4", *lengths) + name + extra + data
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20 | made_by << 8, *lengths, 0, 0, 0, 0, at
        )
        directory += name + extra
    count = len(files)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(out), 0)
    return out + directory + end


def directory_entries(data: bytes | bytearray) -> list[int]:
    """The offsets of the records in a zip's central directory."""
    offsets, at = [], data.find(b"PK\x01\x02")
    while at >= 0:
        offsets.append(at)
        at = data.find(b"PK\x01\x02", at + 1)
    return offsets


def tarred(files: Files, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files:
            archive.addfile(entry(name, len(data)), io.BytesIO(data))
    return out.getvalue()


def gnu(files: Files) -> bytes:
    return tarred(files, form=tarfile.GNU_FORMAT)


def ustar(files: Files) -> bytes:
    return tarred(files, form=tarfile.USTAR_FORMAT)


def tar_gz(files: Files) -> bytes:
    return gzip.compress(tarred(files))


def tar_in_two_gzip_members(files: Files) -> bytes:
    data = tarred(files)
    return gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(100)


def entry(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info


def tar_of(*infos: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar of headers, right or wrong, each with the data that follows it."""
    blocks = [
        info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512) for info, data in infos
    ]
    return b"".join(blocks) + bytes(1024)


def checked(header: bytearray) -> bytes:
    """A tar header with its correct checksum."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


EVERY_KIND: list[Make] = [
    *(zipped, stored, streamed, zip64),
    *(tarred, gnu, ustar, tar_gz, tar_in_two_gzip_members),
]

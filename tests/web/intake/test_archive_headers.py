"""The headers of an archive cost little together, however they are packed."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import time
from collections.abc import Callable

import pytest

from shared.errors import ArchiveTooLarge, BadArchive
from tests.web.intake.archive_files import checked, entry, tar_gz, tar_of, zip_of
from tests.web.intake.archive_reading import JPEG, ROOMY, codes, memory_below, read
from web.intake.archives.archive import kind_of, scan


class CountingFile(io.BytesIO):
    """A file that counts the bytes that are read from it."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def pax_bomb(entries: int) -> bytes:
    """A tar of entries, each with seven pax headers of 13,107 records."""
    records = b"5 a=\n" * 13_107
    header = entry("h", len(records), tarfile.XHDTYPE), records
    return tar_of(*([header] * 7 + [(entry("a.jpg", len(JPEG)), JPEG)]) * entries)


def extra_bomb(entries: int) -> bytes:
    """A zip of entries, each with 16,383 empty extra fields."""
    extra = struct.pack("<2H", 0x4141, 0) * 16_383
    return zip_of(*[(b"%d.jpg" % k, extra, JPEG) for k in range(entries)])


def sparse_bomb(blocks: int) -> bytes:
    """A tar with a sparse file whose map has so many blocks."""
    header = bytearray(entry("holes", 0, tarfile.GNUTYPE_SPARSE).tobuf())
    header[482] = 1
    return checked(header) + bytes([7] * 504 + [1] + [0] * 7) * blocks + bytes(2048)


def header_bomb(entries: int) -> bytes:
    """A tar of entries, each with seven empty extended headers."""
    return tar_of(*([(entry("h", kind=b"g"), b"")] * 7 + [(entry("a.jpg"), b"")]) * entries)


BOMBS: dict[str, Callable[[], bytes]] = {
    "pax records": lambda: pax_bomb(2),
    "packed pax records": lambda: gzip.compress(pax_bomb(2)),
    "extra fields": lambda: extra_bomb(2),
    "empty headers": lambda: header_bomb(300),
    "a map of a sparse file": lambda: gzip.compress(sparse_bomb(20_000)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_too_many_fields_in_headers_are_refused(bomb: str) -> None:
    with pytest.raises(ArchiveTooLarge):
        read(BOMBS[bomb](), ROOMY)


def test_the_fields_of_usual_headers_are_never_too_many() -> None:
    """Archives of macOS have some twenty attributes for each file."""
    records = b"".join(b"14 attr.%02d=ab\n" % k for k in range(25))
    header = entry("h", len(records), tarfile.XHDTYPE), records
    files = [header, (entry("a.jpg", len(JPEG)), JPEG)] * 1000
    assert len(read(tar_of(*files), ROOMY)) == 1000


def test_long_names_and_links_of_a_tar_are_never_too_many() -> None:
    name, link = (entry("h", 200, kind) for kind in (b"L", b"K"))
    linked = entry("a.jpg", kind=tarfile.SYMTYPE)
    files = [(name, b"a" * 200), (link, b"b" * 200), (linked, b"")] * 500
    assert len(read(tar_of(*files), ROOMY)) == 500


def test_too_many_gzip_members_for_what_they_hold_are_refused_early() -> None:
    data = tar_gz([("a", JPEG)]) + gzip.compress(b"") * 20_000
    file = CountingFile(data)
    kind = kind_of(file)
    assert kind
    with pytest.raises(BadArchive):
        scan(file, kind, ROOMY)
    assert file.bytes_read < len(data) / 4


def test_a_gzip_member_for_each_small_file_is_read() -> None:
    blocks = [tar_of((entry(f"{k}.jpg", len(JPEG)), JPEG))[:-1024] for k in range(900)]
    data = b"".join(gzip.compress(block) for block in [*blocks, *[bytes(512)] * 2])
    assert len(read(data, ROOMY)) == 900


@pytest.mark.parametrize("name", ["attribute", "path"])
def test_a_long_header_is_read(name: str) -> None:
    value = "d/" * 50_000 + "a.jpg"
    info = entry("a.jpg", len(JPEG))
    info.pax_headers = {name: value}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(JPEG))
    assert codes(read(out.getvalue())) == {value if name == "path" else "a.jpg": None}


def test_a_record_of_a_damaged_length_is_refused() -> None:
    for records in (b"3 \n", b"4 a\n", b"99999999 a=b\n", b"6 a=b\nx", b" a=b\n"):
        tar = tar_of((entry("h", len(records), b"x"), records), (entry("a", 4), b"data"))
        with pytest.raises(BadArchive):
            read(tar)


def test_the_size_in_an_extended_header_counts() -> None:
    records = b"20 path=other/a.jpg\n" + b"10 size=9\n"
    tar = tar_of(
        (entry("h", len(records), b"x"), records + bytes(3)), (entry("a", 4), b"123456789")
    )
    assert [(each.name, each.data) for each in read(tar)] == [("other/a.jpg", b"123456789")]


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("bomb", [lambda: gzip.compress(pax_bomb(140)), lambda: extra_bomb(110)])
def test_hostile_headers_take_less_than_half_a_second(bomb: Callable[[], bytes]) -> None:
    data = bomb()
    started = time.process_time()
    with pytest.raises(ArchiveTooLarge):
        read(data, ROOMY)
    assert time.process_time() - started < 0.5


def test_a_long_name_is_not_split_into_its_folders() -> None:
    long = entry("n", 60_000, tarfile.GNUTYPE_LONGNAME), b"ab/" * 20_000
    tar = tar_of(long, (entry("a.jpg", len(JPEG)), JPEG))
    with memory_below(700_000):
        assert codes(read(tar)) == {"ab/" * 20_000: None}

"""An archive costs no more memory and work than its limits allow."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from dataclasses import replace

import pytest

from shared.errors import ArchiveTooLarge, BadArchive
from tests.web.intake.archive_files import (
    EVERY_KIND,
    Make,
    directory_entries,
    entry,
    stored,
    tar_gz,
    tar_of,
    tarred,
    zipped,
)
from tests.web.intake.archive_reading import JPEG, LIMITS, ROOMY, memory_below, read
from web.intake.archives.archive import kind_of, members, scan


@pytest.mark.parametrize("make", EVERY_KIND)
def test_too_many_members_are_refused(make: Make) -> None:
    files = [(f"{k}", b"") for k in range(11)]
    with pytest.raises(ArchiveTooLarge):
        read(make(files), replace(LIMITS, members=10))
    assert len(read(make(files), replace(LIMITS, members=11))) == 11


@pytest.mark.parametrize("make", [zipped, tar_gz])
def test_too_many_unpacked_bytes_are_refused(make: Make) -> None:
    data = make([(f"{k}", bytes(900_000)) for k in range(10)])
    with pytest.raises(ArchiveTooLarge):
        read(data)
    assert len(read(data, ROOMY)) == 10
    with pytest.raises(ArchiveTooLarge):
        read(data, replace(ROOMY, unpacked_bytes=5_000_000))
    # A client may send this much without an archive, so the ratio does not count.
    assert len(read(data, replace(LIMITS, free_bytes=20_000_000))) == 10


def overlapping(count: int, size: int) -> bytes:
    """A zip with one packed kernel, to which every entry of the directory points."""
    data = zipped([("kernel", bytes(size))])
    [record] = directory_entries(data)
    end = data.index(b"PK\x05\x06")
    records = data[record:end] * count
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(records), record, 0)
    return data[:record] + records + last


def test_a_bomb_of_overlapping_entries_is_refused() -> None:
    with pytest.raises(BadArchive):
        read(overlapping(10, 1000))
    with pytest.raises(ArchiveTooLarge):
        read(overlapping(500, 900_000))


def test_a_directory_of_many_entries_takes_no_memory() -> None:
    record = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *[0] * 16)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, len(record) * 500_000, 4, 0)
    bomb = io.BytesIO(b"PK\x03\x04" + record * 500_000 + end)
    with memory_below(1_000_000), pytest.raises((ArchiveTooLarge, BadArchive)):
        read(bomb)


def test_a_small_gzip_that_unpacks_to_gigabytes_is_stopped_early() -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = entry("a", 8 * 2**30 - 1).tobuf(tarfile.GNU_FORMAT)
    pieces = [deflater.compress(head)]
    pieces += [deflater.compress(bytes(2**20)) for _ in range(300)]
    bomb = io.BytesIO(b"".join([*pieces, deflater.flush()]))
    with memory_below(2_000_000), pytest.raises(ArchiveTooLarge):
        read(bomb)
    assert bomb.tell() < len(bomb.getvalue()) / 2, "most of it was not even read"


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_huge_extended_header_is_refused_and_not_held_in_memory(kind: bytes) -> None:
    bomb = tar_of((entry("h", 5_000_000, kind), bytes(5_000_000)), (entry("a", 4), b"data"))
    packed = gzip.compress(bomb)
    with memory_below(1_000_000), pytest.raises(BadArchive):
        read(packed)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_chain_of_headers_without_a_file_is_refused(kind: bytes) -> None:
    data = b"9 a=bcd\n\n" if kind in b"xg" else b"name"
    bomb = tar_of(*[(entry("h", len(data), kind), data)] * 5000)
    with pytest.raises(BadArchive):
        read(bomb)


def test_a_file_of_many_empty_gzip_members_is_not_read_to_its_end() -> None:
    bomb = io.BytesIO(tar_gz([("a", JPEG)]) + gzip.compress(b"") * 300_000)
    with pytest.raises(BadArchive):
        read(bomb)
    assert bomb.tell() < len(bomb.getvalue()) * 0.8


@pytest.mark.parametrize("make", [stored, tarred, tar_gz])
def test_memory_does_not_grow_with_the_archive(make: Make) -> None:
    noise = b"".join(struct.pack("<L", zlib.crc32(b"%d" % k)) for k in range(50_000))
    file = io.BytesIO(make([(f"{k}.jpg", noise) for k in range(100)]))
    kind = kind_of(file)
    assert kind
    with memory_below(1_500_000):
        assert scan(file, kind, ROOMY).items == 100
        assert all(len(each.data) == len(noise) for each in members(file, kind, ROOMY))

"""A damaged archive is refused whole if members could be missing; else only its member fails."""

from __future__ import annotations

import io
import struct
import time
import zipfile
import zlib

import pytest

from shared.errors import ArchiveTooLarge, BadArchive
from tests.web.intake.archive_files import (
    EVERY_KIND,
    Make,
    checked,
    directory_entries,
    entry,
    gnu,
    stored,
    tar_gz,
    tar_of,
    tarred,
    zipped,
)
from tests.web.intake.archive_reading import JPEG, LIMITS, codes, memory_below, read
from web.intake.archives.archive import Kind, kind_of, members, scan


@pytest.mark.parametrize("make", [zipped, stored])
def test_a_damaged_member_does_not_affect_the_others(make: Make) -> None:
    noise = bytes(zlib.crc32(b"%d" % k) & 0xFF for k in range(5000))
    data = bytearray(make([("a", JPEG), ("bad", noise), ("c", JPEG)]))
    at = data.index(b"bad") + 1500
    data[at : at + 20] = bytes(20)
    assert codes(read(bytes(data))) == {"a": None, "bad": "corrupt_member", "c": None}


@pytest.mark.parametrize("field", [20, 24], ids=["packed", "unpacked"])
@pytest.mark.parametrize("size", [0, 1, 10, 700_000, 2_000_000_000, 2**32 - 1])
def test_a_false_size_in_a_zip_is_an_error_of_that_member(field: int, size: int) -> None:
    data = bytearray(zipped([("a", JPEG), ("liar", bytes(50_000)), ("c", JPEG)]))
    liar = directory_entries(data)[1]
    struct.pack_into("<L", data, liar + field, size)
    if field == 20 and size > 100:  # The member would reach into the directory.
        with pytest.raises(BadArchive):
            scan(io.BytesIO(data), Kind.ZIP, LIMITS)
        return
    every = codes(read(bytes(data)))
    assert every.pop("liar") in ("corrupt_member", "image_too_large")
    assert every == {"a": None, "c": None}


@pytest.mark.parametrize(
    ("packed", "unpacked"), [(30_000_000, 1000), (1000, 1_000_000)], ids=["packed", "unpacked"]
)
def test_a_member_larger_than_stated_takes_no_memory(packed: int, unpacked: int) -> None:
    method = zipfile.ZIP_DEFLATED if packed < unpacked else zipfile.ZIP_STORED
    data = bytearray(zipped([("liar", bytes(100 * unpacked + packed))], method))
    struct.pack_into("<L", data, directory_entries(data)[0] + 24, unpacked)
    file = io.BytesIO(data)
    with memory_below(3_000_000):
        assert codes(read(file)) == {"liar": "corrupt_member"}


def test_a_local_header_that_leads_out_of_the_archive_is_an_error_of_that_member() -> None:
    data = bytearray(stored([("a", JPEG), ("liar", JPEG)]))
    struct.pack_into("<H", data, data.rindex(b"PK\x03\x04") + 28, 0xFFFF)
    assert codes(read(bytes(data))) == {"a": None, "liar": "corrupt_member"}


@pytest.mark.parametrize("make", EVERY_KIND)
def test_an_archive_that_was_cut_off_is_refused_whole(make: Make) -> None:
    data = make([(f"{k}.jpg", JPEG * 40) for k in range(5)])
    rest = len(data.rstrip(b"\0"))
    for length in (*range(700, rest, 97), rest - 1):
        file = io.BytesIO(data[:length])
        kind = kind_of(file)
        assert kind
        with pytest.raises(BadArchive):
            scan(file, kind, LIMITS)


def test_a_tar_without_its_end_is_refused() -> None:
    data = tar_of((entry("a.jpg", len(JPEG)), JPEG))[:-1024]
    with pytest.raises(BadArchive):
        read(data)


@pytest.mark.parametrize("make", [tarred, tar_gz])
def test_a_damaged_tar_is_refused_whole(make: Make) -> None:
    data = bytearray(make([(f"{k}.jpg", bytes(range(256)) * 20) for k in range(5)]))
    at = 512 + 5120 + 30 if make is tarred else len(data) - 6
    data[at] ^= 0xFF
    with pytest.raises(BadArchive):
        read(bytes(data))


@pytest.mark.parametrize(
    "records",
    [b"no number", b"5", b"99 path=a\n", b"9 path=a", b"-5 a=b\n", b"0 =\n"],
)
def test_a_damaged_extended_header_is_refused(records: bytes) -> None:
    tar = tar_of((entry("h", len(records), b"x"), records), (entry("a", 4), b"data"))
    with pytest.raises(BadArchive):
        read(tar)


def test_an_empty_extended_header_changes_nothing() -> None:
    assert codes(read(tar_of((entry("h", 0, b"x"), b""), (entry("a", 4), b"data")))) == {"a": None}


def test_the_cost_of_a_damaged_extended_header_does_not_grow_with_its_square() -> None:
    def seconds(digits: int) -> float:
        header = entry("h", digits, b"x"), b"1" * digits
        tar = tar_of(header, (entry("a", 4), b"data"))
        started = time.process_time()
        for _ in range(20):
            with pytest.raises(BadArchive):
                read(tar)
        return time.process_time() - started

    # `tarfile` of Python 3.11.7 needs some 10,000 times as long for the longer one.
    assert seconds(60_000) < 100 * seconds(60)


@pytest.mark.parametrize(
    "record",
    [b"size=-600", b"size=1e3", b"size=9999999", *(b"size=" + b"9" * n for n in (40, 5000))],
)
def test_a_false_size_in_an_extended_header_is_refused(record: bytes) -> None:
    length = next(n for n in range(9999) if len(f"{n} \n") + len(record) == n)
    data = b"%d %s\n" % (length, record)
    tar = tar_of((entry("h", len(data), b"x"), data), (entry("a", 4), b"data"))
    with pytest.raises(BadArchive):
        read(tar)


@pytest.mark.parametrize("size", [b"\xff" * 10 + b"\xfa\x00", b"\x80" + b"\xff" * 11])
def test_a_negative_or_boundless_size_in_a_tar_is_refused(size: bytes) -> None:
    raw = tar_of((entry("a", 4), b"data"))
    header = bytearray(raw[:512])
    header[124:136] = size
    with pytest.raises(BadArchive):
        read(checked(header) + raw[512:])


def test_one_changed_byte_raises_no_other_error() -> None:
    """Good archives with one byte changed give members, BadArchive or ArchiveTooLarge."""
    for make in (zipped, tarred, gnu, tar_gz):
        good = make([("a/b.jpg", JPEG), ("c" * 120, JPEG * 3), ("d.jpg", b"")])
        for at in range(0, len(good.rstrip(b"\0")), 1 if len(good) < 2000 else 7):
            for change in (0xFF, 0x01, 0x80):
                bad = bytearray(good)
                bad[at] ^= change
                file = io.BytesIO(bytes(bad))
                if kind := kind_of(file):
                    try:
                        scan(file, kind, LIMITS)
                        list(members(file, kind, LIMITS))
                    except (BadArchive, ArchiveTooLarge):
                        pass

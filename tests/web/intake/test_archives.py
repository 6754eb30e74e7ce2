"""Archives of strangers: every member is a picture or an error, and no archive costs more than
its limits. Real archives by the standard library's writers; the hostile ones are bent by hand.
"""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import IO

import pytest

from shared.errors import ArchiveTooLarge, BadArchive
from tests.web.intake.archive_files import Files, Make, tar_gz, tarred, zipped
from web.intake.archives.archive import Kind, Limits, Member, kind_of, members, scan

JPEG = b"\xff\xd8\xff\xe0 not a whole picture"

LIMITS = Limits(
    members=1_000,
    unpacked_bytes=50_000_000,
    ratio=100,
    free_bytes=2_000_000,
    member_bytes=1_000_000,
)

ROOMY = replace(LIMITS, ratio=10_000)


def stored(files: Files) -> bytes:
    return zipped(files, zipfile.ZIP_STORED)


def streamed(files: Files) -> bytes:
    """As a tool writes it that cannot seek: sizes stand behind the data."""

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
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files:
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    return as_zip64(out.getvalue())


def as_zip64(data: bytes) -> bytes:
    """The same archive with the end record that archives of more than 4 GiB have."""
    end = data.rfind(b"PK\x05\x06")
    *_, count, length, offset, _ = struct.unpack("<4s4H2LH", data[end:])
    larger = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, offset
    )
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    return data[:end] + larger + locator + last


def gnu(files: Files) -> bytes:
    return tarred(files, form=tarfile.GNU_FORMAT)


def ustar(files: Files) -> bytes:
    return tarred(files, form=tarfile.USTAR_FORMAT)


def tar_in_two_gzip_files(files: Files) -> bytes:
    data = tarred(files)
    return gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(100)


def tar_of(*infos: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Headers as they are, right or wrong, each with what follows it."""
    blocks = [
        info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512) for info, data in infos
    ]
    return b"".join(blocks) + bytes(1024)


def entry(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info


def read(data: bytes | IO[bytes], limits: Limits = LIMITS) -> list[Member]:
    """What an upload of this archive comes to."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    kind = kind_of(file)
    assert kind, "not an archive"
    expected = scan(file, kind, limits)
    found = list(members(file, kind, limits))
    assert len(found) == expected
    return found


def codes(found: Sequence[Member]) -> dict[str, str | None]:
    return {each.name: each.error and each.error.code for each in found}


EVERY_KIND: list[Make] = [
    *(zipped, stored, streamed, zip64),
    *(tarred, gnu, ustar, tar_gz, tar_in_two_gzip_files),
]


@pytest.mark.parametrize("make", EVERY_KIND)
def test_every_member_comes_out_as_it_went_in(make: Make) -> None:
    files = [(f"folder/{k}.jpg", JPEG + bytes([k]) * 100 * k) for k in range(70)]
    assert read(make(files)) == [Member(name, data) for name, data in files]


@pytest.mark.parametrize(
    ("make", "kind"),
    [(zipped, Kind.ZIP), (tarred, Kind.TAR), (gnu, Kind.TAR), (tar_gz, Kind.TAR_GZ)],
)
def test_the_kind_is_told_by_content(make: Make, kind: Kind) -> None:
    assert kind_of(io.BytesIO(make([("a.jpg", JPEG)]))) is kind


@pytest.mark.parametrize(
    "data", [b"", JPEG, b"BM" + bytes(1000), gzip.compress(JPEG), b"\x1f\x8b\x08 no gzip", b"PK"]
)
def test_anything_else_is_no_archive(data: bytes) -> None:
    assert kind_of(io.BytesIO(data)) is None


def test_a_tar_whose_first_name_begins_like_a_picture_is_a_tar() -> None:
    assert codes(read(tarred([("BMW/1.jpg", JPEG)]))) == {"BMW/1.jpg": None}


@pytest.mark.parametrize("make", [zipped, tarred, tar_gz])
def test_folders_and_what_systems_leave_are_passed_over(make: Make) -> None:
    names = [
        *("__MACOSX/._cat.jpg", "cats/.DS_Store", "cats/._cat.jpg", "Thumbs.db"),
        *("a/desktop.ini", "cats/cat.jpg"),
    ]
    assert codes(read(make([(name, JPEG) for name in names]))) == {"cats/cat.jpg": None}
    tar = tar_of((entry("cats/", kind=tarfile.DIRTYPE), b""), (entry("cats/a", 4), b"data"))
    assert codes(read(tar)) == {"cats/a": None}
    assert codes(read(zipped([("cats/", b""), ("cats/a", b"data")]))) == {"cats/a": None}


@pytest.mark.parametrize("make", EVERY_KIND)
def test_a_name_that_comes_twice_is_two_items(make: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of it
        data = make([("a.jpg", JPEG), ("a.jpg", JPEG + b"2")])
    assert [each.data for each in read(data)] == [JPEG, JPEG + b"2"]


@pytest.mark.parametrize("make", EVERY_KIND)
@pytest.mark.parametrize("name", ["/etc/a.jpg", "../a.jpg", "a/../../b.jpg", "..\\a", "C:\\a.jpg"])
def test_a_path_that_leaves_is_an_item_with_an_error(make: Make, name: str) -> None:
    found = read(make([("first.jpg", JPEG), (name, JPEG), ("last.jpg", JPEG)]))
    assert codes(found) == {"first.jpg": None, name: "unsafe_path", "last.jpg": None}


@pytest.mark.parametrize("make", [zipped, tarred, tar_gz])
@pytest.mark.parametrize("inner", [zipped, tarred, tar_gz])
def test_an_archive_in_an_archive_is_not_opened(make: Make, inner: Make) -> None:
    found = read(make([("inner.jpg", inner([("a", JPEG)])), ("a.jpg", JPEG)]))
    assert codes(found) == {"inner.jpg": "nested_archive", "a.jpg": None}


@pytest.mark.parametrize("make", EVERY_KIND)
def test_a_member_over_the_limit_is_an_error_and_not_read(make: Make) -> None:
    found = read(make([("a", bytes(1_000_001)), ("b", bytes(1_000_000)), ("c", b"")]), ROOMY)
    assert codes(found) == {"a": "image_too_large", "b": None, "c": None}


LINKS = [
    *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
    tarfile.GNUTYPE_SPARSE,
    b"Z",
]


@pytest.mark.parametrize("kind", LINKS)
def test_what_is_no_file_is_an_item_with_an_error(kind: bytes) -> None:
    odd = entry("odd", kind=kind)
    odd.linkname = "/etc/passwd"
    tar = tar_of((odd, b""), (entry("a.jpg", len(JPEG)), JPEG))
    assert codes(read(tar)) == {"odd": "not_a_file", "a.jpg": None}
    assert codes(read(gzip.compress(tar))) == {"odd": "not_a_file", "a.jpg": None}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_nothing_follows_a_link_whatever_size_it_claims(kind: bytes) -> None:
    tar = tar_of((entry("link", 700, kind), b""), (entry("a.jpg", len(JPEG)), JPEG))
    assert codes(read(tar)) == {"link": "not_a_file", "a.jpg": None}


def test_the_map_of_a_sparse_file_is_passed_over() -> None:
    raw = tar_of((entry("holes", 600, tarfile.GNUTYPE_SPARSE), bytes(600)), (entry("a", 1), b"x"))
    header = bytearray(raw[:512])
    header[482] = 1
    more = bytes([7] * 504 + [1] + [0] * 7) + bytes([7] * 504 + [0] * 8)
    assert codes(read(checked(header) + more + raw[512:])) == {"holes": "not_a_file", "a": None}


def test_a_link_in_a_zip_is_an_item_with_an_error() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("link.jpg")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.jpg", JPEG)
    assert codes(read(out.getvalue())) == {"link.jpg": "not_a_file", "a.jpg": None}


def test_encrypted_and_oddly_packed_members_cost_no_neighbour() -> None:
    data = bytearray(stored([("secret", JPEG), ("good", JPEG), ("odd", JPEG)]))
    first, _, last = directory_entries(data)
    data[first + 8] |= 1
    data[last + 10] = 14  # LZMA
    assert codes(read(bytes(data))) == {
        "secret": "encrypted_member",
        "good": None,
        "odd": "unsupported_compression",
    }


def test_bzip2_and_lzma_are_told_as_such() -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        data = zipped([("a", bytes(900_000))], method)
        assert codes(read(data)) == {"a": "unsupported_compression"}


@pytest.mark.parametrize("make", [zipped, stored])
def test_a_damaged_member_costs_no_neighbour(make: Make) -> None:
    noise = bytes(zlib.crc32(b"%d" % k) & 0xFF for k in range(5000))
    data = bytearray(make([("a", JPEG), ("bad", noise), ("c", JPEG)]))
    at = data.index(b"bad") + 1500
    data[at : at + 20] = bytes(20)
    assert codes(read(bytes(data))) == {"a": None, "bad": "corrupt_member", "c": None}


def directory_entries(data: bytes | bytearray) -> list[int]:
    """Where the records of the central directory are."""
    found, at = [], data.find(b"PK\x01\x02")
    while at >= 0:
        found.append(at)
        at = data.find(b"PK\x01\x02", at + 1)
    return found


@pytest.mark.parametrize("field", [20, 24], ids=["packed", "unpacked"])
@pytest.mark.parametrize("said", [0, 1, 10, 700_000, 2_000_000_000, 2**32 - 1])
def test_a_size_that_lies_is_an_error_of_that_member(field: int, said: int) -> None:
    data = bytearray(zipped([("a", JPEG), ("liar", bytes(50_000)), ("c", JPEG)]))
    liar = directory_entries(data)[1]
    struct.pack_into("<L", data, liar + field, said)
    if field == 20 and said > 100:  # it would reach into the directory
        with pytest.raises(BadArchive):
            scan(io.BytesIO(data), Kind.ZIP, LIMITS)
        return
    found = codes(read(bytes(data)))
    assert found.pop("liar") in ("corrupt_member", "image_too_large")
    assert found == {"a": None, "c": None}


@pytest.mark.parametrize(
    ("packed", "unpacked"), [(30_000_000, 1000), (1000, 1_000_000)], ids=["packed", "unpacked"]
)
def test_a_member_that_is_larger_than_it_says_costs_no_memory(packed: int, unpacked: int) -> None:
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


def names_as(raw: bytes, flags: int) -> bytes:
    data = bytearray(stored([("x" * len(raw), JPEG)]))
    [at] = directory_entries(data)
    struct.pack_into("<H", data, at + 8, flags)
    return bytes(data).replace(b"x" * len(raw), raw)


@pytest.mark.parametrize(
    ("raw", "flags", "name"),
    [
        ("Käse.jpg".encode(), 1 << 11, "Käse.jpg"),
        ("Käse.jpg".encode(), 0, "Käse.jpg"),
        ("Käse.jpg".encode("cp437"), 0, "Käse.jpg"),
        (b"\xff\xfe.jpg", 1 << 11, "\ufffd\ufffd.jpg"),
    ],
    ids=["UTF-8", "UTF-8 that is not marked", "cp437", "marked and no UTF-8"],
)
def test_a_name_in_any_encoding_is_read(raw: bytes, flags: int, name: str) -> None:
    assert codes(read(names_as(raw, flags))) == {name: None}


def test_long_and_odd_names_in_a_tar_are_read() -> None:
    long = "d/" * 150 + "Käse.jpg"
    for make in (tarred, gnu):
        assert codes(read(make([(long, JPEG)]))) == {long: None}
    raw = tar_of((entry("xx.jpg", 4), b"data"))
    header = bytearray(raw[:512])
    header[0:2] = b"\xff\xfe"
    assert codes(read(checked(header) + raw[512:])) == {"\ufffd\ufffd.jpg": None}


def checked(header: bytearray) -> bytes:
    """A tar header with the checksum that it should have."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


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


def test_an_archive_of_nothing_has_no_members() -> None:
    assert read(zipped([])) == []
    assert read(zipped([("folder/", b"")])) == []


@pytest.mark.parametrize("make", EVERY_KIND)
def test_too_many_members_are_refused(make: Make) -> None:
    files = [(f"{k}", b"") for k in range(11)]
    with pytest.raises(ArchiveTooLarge):
        read(make(files), replace(LIMITS, members=10))
    assert len(read(make(files), replace(LIMITS, members=11))) == 11


@pytest.mark.parametrize("make", [zipped, tar_gz])
def test_more_than_may_be_unpacked_is_refused(make: Make) -> None:
    data = make([(f"{k}", bytes(900_000)) for k in range(10)])
    with pytest.raises(ArchiveTooLarge):
        read(data)
    assert len(read(data, ROOMY)) == 10
    with pytest.raises(ArchiveTooLarge):
        read(data, replace(ROOMY, unpacked_bytes=5_000_000))
    # As much as a client could have sent as it is, whatever the ratio.
    assert len(read(data, replace(LIMITS, free_bytes=20_000_000))) == 10


def overlapping(count: int, size: int) -> bytes:
    """One packed kernel that every entry of the directory names."""
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


def test_a_directory_of_millions_of_entries_costs_no_memory() -> None:
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
    bomb = b"".join([*pieces, deflater.flush()])
    started = time.process_time()
    with memory_below(2_000_000), pytest.raises(ArchiveTooLarge):
        read(bomb)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_huge_extended_header_is_refused_and_not_held(kind: bytes) -> None:
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


@pytest.mark.parametrize(
    "records",
    [b"", b"no number", b"5", b"99 path=a\n", b"9 path=a", b"-5 a=b\n", b"0 =\n", b"1" * 60_000],
)
def test_a_damaged_extended_header_is_refused_at_once(records: bytes) -> None:
    tar = tar_of((entry("h", len(records), b"x"), records), (entry("a", 4), b"data"))
    started = time.process_time()
    if records:
        with pytest.raises(BadArchive):
            read(tar)
    else:
        assert codes(read(tar)) == {"a": None}
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "said", [b"size=-600", b"size=1e3", b"size=9999999", *(b"size=" + b"9" * n for n in (40, 5000))]
)
def test_a_pax_size_that_lies_is_refused(said: bytes) -> None:
    length = next(n for n in range(9999) if len(f"{n} \n") + len(said) == n)
    record = b"%d %s\n" % (length, said)
    tar = tar_of((entry("h", len(record), b"x"), record), (entry("a", 4), b"data"))
    with pytest.raises(BadArchive):
        read(tar)


@pytest.mark.parametrize("said", [b"\xff" * 10 + b"\xfa\x00", b"\x80" + b"\xff" * 11])
def test_a_negative_or_boundless_size_does_not_send_the_reader_in_circles(said: bytes) -> None:
    raw = tar_of((entry("a", 4), b"data"))
    header = bytearray(raw[:512])
    header[124:136] = said
    with pytest.raises(BadArchive):
        read(checked(header) + raw[512:])


def test_many_empty_gzip_files_in_one_are_stopped() -> None:
    bomb = tar_gz([("a", JPEG)]) + gzip.compress(b"") * 300_000
    started = time.process_time()
    with pytest.raises(BadArchive):
        read(bomb)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("make", [stored, tarred, tar_gz])
def test_memory_stays_flat_however_large_the_archive(make: Make) -> None:
    noise = b"".join(struct.pack("<L", zlib.crc32(b"%d" % k)) for k in range(50_000))
    file = io.BytesIO(make([(f"{k}.jpg", noise) for k in range(100)]))
    kind = kind_of(file)
    assert kind
    with memory_below(1_500_000):
        assert scan(file, kind, ROOMY) == 100
        assert all(len(each.data) == len(noise) for each in members(file, kind, ROOMY))


def test_bytes_at_random_never_raise_anything_else() -> None:
    """Good archives, one byte changed at a time: an error of ours or members, nothing else."""
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


class memory_below:
    """What Python allocates in the block, at its peak."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __enter__(self) -> None:
        tracemalloc.start()
        self._before, _ = tracemalloc.get_traced_memory()

    def __exit__(self, *raised: object) -> None:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak - self._before < self._limit, f"{peak - self._before} bytes"

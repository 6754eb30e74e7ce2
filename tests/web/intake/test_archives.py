"""Every member of an archive becomes a picture or an error, and affects no other member."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import warnings
import zipfile

import pytest

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
from tests.web.intake.archive_reading import JPEG, ROOMY, codes, read
from web.intake.archives.archive import Kind, Member, kind_of


@pytest.mark.parametrize("make", EVERY_KIND)
def test_every_member_comes_out_as_it_went_in(make: Make) -> None:
    files = [(f"folder/{k}.jpg", JPEG + bytes([k]) * 100 * k) for k in range(70)]
    assert read(make(files)) == [Member(name, data) for name, data in files]


@pytest.mark.parametrize(
    ("make", "kind"),
    [(zipped, Kind.ZIP), (tarred, Kind.TAR), (gnu, Kind.TAR), (tar_gz, Kind.TAR_GZ)],
)
def test_the_kind_is_recognised_by_content(make: Make, kind: Kind) -> None:
    assert kind_of(io.BytesIO(make([("a.jpg", JPEG)]))) is kind


@pytest.mark.parametrize(
    "data",
    [b"", JPEG, b"BM" + bytes(1000), gzip.compress(JPEG, mtime=0), b"\x1f\x8b\x08 no gzip", b"PK"],
)
def test_other_files_are_no_archives(data: bytes) -> None:
    assert kind_of(io.BytesIO(data)) is None


def test_a_tar_is_recognised_even_if_its_first_name_begins_like_a_bmp_file() -> None:
    assert codes(read(tarred([("BMW/1.jpg", JPEG)]))) == {"BMW/1.jpg": None}


@pytest.mark.parametrize("make", [zipped, tarred, tar_gz])
def test_folders_and_files_of_operating_systems_are_skipped(make: Make) -> None:
    names = [
        *("__MACOSX/._cat.jpg", "cats/.DS_Store", "cats/._cat.jpg", "Thumbs.db"),
        *("a/desktop.ini", "cats/cat.jpg"),
    ]
    assert codes(read(make([(name, JPEG) for name in names]))) == {"cats/cat.jpg": None}
    tar = tar_of((entry("cats/", kind=tarfile.DIRTYPE), b""), (entry("cats/a", 4), b"data"))
    assert codes(read(tar)) == {"cats/a": None}
    assert codes(read(zipped([("cats/", b""), ("cats/a", b"data")]))) == {"cats/a": None}


@pytest.mark.parametrize("make", EVERY_KIND)
def test_two_members_of_the_same_name_are_two_items(make: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of it.
        data = make([("a.jpg", JPEG), ("a.jpg", JPEG + b"2")])
    assert [each.data for each in read(data)] == [JPEG, JPEG + b"2"]


@pytest.mark.parametrize("make", EVERY_KIND)
@pytest.mark.parametrize("name", ["/etc/a.jpg", "../a.jpg", "a/../../b.jpg", "..\\a", "C:\\a.jpg"])
def test_a_path_that_leaves_the_folder_is_an_item_with_an_error(make: Make, name: str) -> None:
    every = read(make([("first.jpg", JPEG), (name, JPEG), ("last.jpg", JPEG)]))
    assert codes(every) == {"first.jpg": None, name: "unsafe_path", "last.jpg": None}


@pytest.mark.parametrize("make", [zipped, tarred, tar_gz])
@pytest.mark.parametrize("inner", [zipped, tarred, tar_gz])
def test_an_archive_in_an_archive_is_not_opened(make: Make, inner: Make) -> None:
    every = read(make([("inner.jpg", inner([("a", JPEG)])), ("a.jpg", JPEG)]))
    assert codes(every) == {"inner.jpg": "nested_archive", "a.jpg": None}


@pytest.mark.parametrize("make", EVERY_KIND)
def test_a_member_over_the_limit_is_an_error_and_is_not_read(make: Make) -> None:
    every = read(make([("a", bytes(1_000_001)), ("b", bytes(1_000_000)), ("c", b"")]), ROOMY)
    assert codes(every) == {"a": "image_too_large", "b": None, "c": None}


LINKS = [
    *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
    tarfile.GNUTYPE_SPARSE,
    b"Z",
]


@pytest.mark.parametrize("kind", LINKS)
def test_a_tar_entry_that_is_not_a_file_is_an_item_with_an_error(kind: bytes) -> None:
    odd = entry("odd", kind=kind)
    odd.linkname = "/etc/passwd"
    tar = tar_of((odd, b""), (entry("a.jpg", len(JPEG)), JPEG))
    assert codes(read(tar)) == {"odd": "not_a_file", "a.jpg": None}
    assert codes(read(gzip.compress(tar))) == {"odd": "not_a_file", "a.jpg": None}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_no_data_follows_a_link_even_if_it_states_a_size(kind: bytes) -> None:
    tar = tar_of((entry("link", 700, kind), b""), (entry("a.jpg", len(JPEG)), JPEG))
    assert codes(read(tar)) == {"link": "not_a_file", "a.jpg": None}


def test_the_map_of_a_sparse_file_is_skipped() -> None:
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


def test_an_encrypted_member_and_one_of_an_unknown_method_are_errors() -> None:
    data = bytearray(stored([("secret", JPEG), ("good", JPEG), ("odd", JPEG)]))
    first, _, last = directory_entries(data)
    data[first + 8] |= 1
    data[last + 10] = 14  # LZMA
    assert codes(read(bytes(data))) == {
        "secret": "encrypted_member",
        "good": None,
        "odd": "unsupported_compression",
    }


def test_bzip2_and_lzma_have_an_error_code_of_their_own() -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        data = zipped([("a", bytes(900_000))], method)
        assert codes(read(data)) == {"a": "unsupported_compression"}


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


def test_an_empty_archive_has_no_members() -> None:
    assert read(zipped([])) == []
    assert read(zipped([("folder/", b"")])) == []

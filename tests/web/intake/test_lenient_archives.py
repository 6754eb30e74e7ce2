"""Archives that break a rule of their format are read if `unzip` and `tar` read them."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from shared.errors import BadArchive
from tests.support.bodies import JPEG as PICTURE
from tests.web.intake.archive_files import (
    Make,
    directory_entries,
    stored,
    tar_gz,
    tar_in_two_gzip_members,
    zip64,
    zip_of,
    zipped,
)
from tests.web.intake.archive_reading import JPEG, LIMITS, codes, read
from tests.web.submit.archives.archive_posts import items, post_form, post_raw
from web.intake.archives.archive import Kind, kind_of, scan

SCRIPT = b"#!/bin/sh\n" * 20


def unicode_field(of: bytes, name: bytes, version: int = 1) -> bytes:
    field = struct.pack("<BL", version, zlib.crc32(of)) + name
    return struct.pack("<2H", 0x7075, len(field)) + field


def test_names_come_from_the_unicode_field_of_a_zip() -> None:
    names = {
        "фото.jpg": b"????.jpg",
        "снег.jpg": b"????.jpg",
        "写真.jpg": "写真.jpg".encode("cp932"),
    }
    data = zip_of(*[(raw, unicode_field(raw, name.encode()), JPEG) for name, raw in names.items()])
    assert [each.name for each in read(data)] == list(names)


@pytest.mark.parametrize(
    "field",
    [
        unicode_field(b"renamed.jpg", b"old.jpg"),
        unicode_field(b"a.jpg", b"\xff.jpg"),
        unicode_field(b"a.jpg", b"b.jpg", version=2),
        unicode_field(b"a.jpg", b""),
        struct.pack("<2H", 0x7075, 3) + b"\1ab",
        struct.pack("<2H", 0x7075, 900) + b"\1",
    ],
    ids=["another name", "no UTF-8", "another version", "empty", "short", "cut off"],
)
def test_a_unicode_field_that_does_not_fit_is_ignored(field: bytes) -> None:
    assert codes(read(zip_of((b"a.jpg", field, JPEG)))) == {"a.jpg": None}


def test_the_unicode_name_is_checked_like_any_other() -> None:
    every = [
        (b"a", unicode_field(b"a", b"../a"), JPEG),
        (b"b", unicode_field(b"b", b"folder/"), b""),
        (b"c", unicode_field(b"c", b"__MACOSX/._c"), JPEG),
    ]
    assert codes(read(zip_of(*every))) == {"../a": "unsafe_path"}


WITH_BACKSLASHES = [
    (b"photos\\", b"", b""),
    (b"photos\\a.jpg", b"", JPEG),
    (b"__MACOSX\\._a.jpg", b"", b"x"),
    (b"photos\\Thumbs.db", b"", b"x"),
    (b"..\\b.jpg", b"", JPEG),
]


@pytest.mark.parametrize("made_by", [0, 10, 14], ids=["DOS", "NTFS", "VFAT"])
def test_backslashes_of_windows_stand_between_folders(made_by: int) -> None:
    every = codes(read(zip_of(*WITH_BACKSLASHES, made_by=made_by)))
    assert every == {"photos/a.jpg": None, "../b.jpg": "unsafe_path"}


def test_a_backslash_of_unix_is_a_part_of_the_name() -> None:
    assert codes(read(zip_of((b"a\\b.jpg", b"", JPEG), made_by=3))) == {"a\\b.jpg": None}


@pytest.mark.parametrize("make", [zipped, stored, zip64])
@pytest.mark.parametrize("front", [SCRIPT, b"MZ" + bytes(70_000), b"PK00", b"\0" * 7])
def test_bytes_in_front_of_a_zip_are_ignored(make: Make, front: bytes) -> None:
    files = [(f"{k}.jpg", JPEG + bytes([k])) for k in range(3)]
    assert [(each.name, each.data) for each in read(front + make(files))] == files


def test_offsets_of_a_self_extracting_zip_may_count_its_program() -> None:
    data = bytearray(SCRIPT + stored([("a.jpg", JPEG)]))
    for at in (directory_entries(data)[0] + 42, data.rindex(b"PK\5\6") + 16):
        [offset] = struct.unpack_from("<L", data, at)
        struct.pack_into("<L", data, at, offset + len(SCRIPT))
    assert codes(read(bytes(data))) == {"a.jpg": None}


def test_a_picture_with_an_archive_behind_it_is_a_picture(client: FlaskClient) -> None:
    data = PICTURE + zipped([("a.jpg", JPEG)])
    assert kind_of(io.BytesIO(data)) is None
    [item] = items(client, post_form(client, data).json["id"])
    assert (item["name"], item["error"]) == ("holiday.zip", None)


@pytest.mark.parametrize("post", [post_raw, post_form])
def test_a_self_extracting_zip_is_a_job(
    client: FlaskClient, post: Callable[..., TestResponse]
) -> None:
    job = post(client, SCRIPT + zipped([("a.jpg", PICTURE)])).json
    assert [item["name"] for item in items(client, job["id"])] == ["a.jpg"]


@pytest.mark.parametrize("front", [SCRIPT, b"MZ" + bytes(70_000), b"\x7fELF" + bytes(1000)])
def test_a_form_may_carry_a_self_extracting_zip_that_is_larger_than_pictures_may_be(
    make_app: Callable[..., OpenAPI], front: bytes
) -> None:
    client = make_app(max_request_bytes=100_000, max_archive_bytes=300_000).test_client()
    data = front + zipped([("a.jpg", PICTURE + os.urandom(120_000))])
    answer = post_form(client, data)
    assert answer.status_code == 202, answer.text
    assert post_form(client, b"text" + data).json["code"] == "request_too_large"


@pytest.mark.parametrize("make", [tar_gz, tar_in_two_gzip_members])
@pytest.mark.parametrize("behind", [b"\n", b"\x1f", b"\0\0\n", b"garbage" * 10_000])
def test_bytes_behind_a_gzip_file_are_ignored(make: Make, behind: bytes) -> None:
    assert codes(read(make([("a.jpg", JPEG)]) + behind)) == {"a.jpg": None}


def test_a_gzip_file_with_bytes_between_two_members_is_cut_off() -> None:
    first, second = stored_halves()
    with pytest.raises(BadArchive):
        scan(io.BytesIO(first + b"\n" + second), Kind.TAR_GZ, LIMITS)


def stored_halves() -> tuple[bytes, bytes]:
    data = gzip.decompress(tar_gz([("a.jpg", JPEG), ("b.jpg", JPEG)]))
    return gzip.compress(data[:1024]), gzip.compress(data[1024:])

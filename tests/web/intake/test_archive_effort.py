"""The time that an archive may take, and headers of tar as `tarfile` reads them."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace

import pytest

from shared.errors import ArchiveTooLarge, BadArchive
from tests.web.intake.archive_files import entry, tar_of
from web.intake.archives import archive
from web.intake.archives.archive import Kind, Limits
from web.intake.archives.effort import Effort
from web.intake.archives.streams import Gunzip
from web.intake.archives.tar_header import decode

LIMITS = Limits(members=1000, unpacked_bytes=2**30, ratio=100, free_bytes=2**26, member_bytes=2**20)


class Clock:
    """Each look at it takes a second."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_entries_take_time() -> None:
    effort = Effort(3, Clock())
    for _ in range(3):
        effort.add_entry()
    with pytest.raises(ArchiveTooLarge, match="too long"):
        effort.add_entry()


def test_fields_take_time() -> None:
    effort = Effort(3, Clock())
    with pytest.raises(ArchiveTooLarge, match="too long"):
        for _ in range(2000):
            effort.spend()


def test_the_thread_rests_after_its_work() -> None:
    rested: list[float] = []
    effort = Effort(1000, Clock(), rest=rested.append)
    for _ in range(3):
        effort.add_entry()
    assert rested == [1, 1, 1]


@pytest.mark.parametrize("kind", Kind)
def test_the_thread_rests_while_it_reads_members_that_are_skipped(kind: Kind) -> None:
    """There may be 100,000 of them between two pictures."""
    rested: list[float] = []
    limits = replace(LIMITS, members=100_000, rest=rested.append)
    data = archive_of(kind, [*(f"{k}.txt" for k in range(20_000)), "a.jpg"])
    reading = archive.members(io.BytesIO(data), kind, limits)
    assert next(reading).name == "a.jpg"
    assert len(rested) > 5
    assert max(rested) < 0.1


@pytest.mark.parametrize("kind", Kind)
def test_the_time_between_two_members_is_no_work(kind: Kind) -> None:
    rested: list[float] = []
    reading = archive.members(
        io.BytesIO(archive_of(kind)), kind, replace(LIMITS, rest=rested.append)
    )
    for _ in range(3):
        next(reading)
        time.sleep(0.05)
    assert not list(reading) and max(rested, default=0) < 0.05


@pytest.mark.parametrize("kind", Kind)
def test_an_archive_that_takes_too_long_is_refused(kind: Kind) -> None:
    data = archive_of(kind)
    assert archive.scan(io.BytesIO(data), kind, LIMITS).items == 3
    with pytest.raises(ArchiveTooLarge, match="too long"):
        archive.scan(io.BytesIO(data), kind, replace(LIMITS, seconds=-1.0))


def empty_blocks(megabytes: int) -> bytes:
    """A gzip file that goes on and on, and gives not one byte. Each five bytes are four blocks."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\x02\x08\x20\x80\0" * (megabytes * 2**20 // 5)


def test_a_gzip_file_without_data_takes_time() -> None:
    stream = Gunzip(io.BytesIO(empty_blocks(1)), 2**20, effort=Effort(3, Clock()))
    with pytest.raises(ArchiveTooLarge, match="too long"):
        stream.read(1)


def test_only_the_head_is_read_to_see_the_kind_of_an_archive() -> None:
    file = io.BytesIO(empty_blocks(50))
    started = time.process_time()
    assert archive.kind_of(file) is None
    assert time.process_time() - started < 0.1


def archive_of(kind: Kind, names: Sequence[str] = ("a.jpg", "b.jpg", "c.jpg")) -> bytes:
    file = io.BytesIO()
    if kind is Kind.ZIP:
        with zipfile.ZipFile(file, "w") as zipped:
            for name in names:
                zipped.writestr(name, b"x")
        return file.getvalue()
    data = tar_of(*((entry(name, 1), b"x") for name in names))
    return gzip.compress(data) if kind is Kind.TAR_GZ else data


def test_a_larger_archive_may_take_longer() -> None:
    limits = replace(LIMITS, seconds=1.0)
    limits.effort(0).check_time()
    assert limits.effort(50_000_000)._ends_at - limits.effort(0)._ends_at == pytest.approx(5, abs=1)


# Headers


def info(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "made",
    [
        info("a.jpg", size=12345),
        info("süß.jpg"),
        info("folder/", type=tarfile.DIRTYPE),
        info("folder/", type=tarfile.AREGTYPE),
        info("a/" * 60 + "b.jpg", size=7),
        info("link", type=tarfile.SYMTYPE, linkname="a.jpg"),
        info("large", size=8**11 - 1),
        info("x" * 100, uname="ünïcode", uid=2**20),
    ],
    ids=lambda made: made.name[:12],
)
def test_a_header_is_read_as_tarfile_reads_it(made: tarfile.TarInfo, form: int) -> None:
    data = made.tobuf(form, "utf-8", "surrogateescape")
    for at in range(0, len(data), 512):
        same_as_tarfile(data[at : at + 512])


def same_as_tarfile(block: bytes) -> None:
    try:
        expected = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError:
        with pytest.raises(BadArchive):
            decode(block)
        return
    header = decode(block)
    assert (header.name.rstrip("/"), header.size) == (expected.name.rstrip("/"), expected.size)
    assert (header.type, header.is_folder) == (expected.type, expected.isdir())


def with_checksum(block: bytes, checksum: int) -> bytes:
    return block[:148] + b"%06o\0 " % checksum + block[156:]


def test_numbers_beyond_octal_digits_are_read_as_tarfile_reads_them() -> None:
    same_as_tarfile(info("huge", size=2**40).tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(BadArchive, match="negative"):
        decode(info("less", size=-5).tobuf(tarfile.GNU_FORMAT))


def test_a_sum_of_signed_bytes_is_right_too() -> None:
    block = info("süß").tobuf(tarfile.GNU_FORMAT)
    unsigned, signed = tarfile.calc_chksums(block)  # type: ignore[attr-defined]
    assert unsigned != signed
    assert decode(with_checksum(block, signed)).name == "süß"
    with pytest.raises(BadArchive, match="damaged"):
        decode(with_checksum(block, unsigned + 1))


@pytest.mark.parametrize("at", [0, 124, 148, 156, 345])
def test_a_changed_byte_is_noticed(at: int) -> None:
    block = bytearray(info("a.jpg", size=1).tobuf(tarfile.USTAR_FORMAT))
    block[at] ^= 0x15
    with pytest.raises(BadArchive):
        decode(bytes(block))

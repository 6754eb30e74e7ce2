"""A part of an open job as it is uploaded: its entries, each with a file or with a digest alone."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from flask import request
from pydantic import TypeAdapter
from werkzeug.datastructures import FileStorage

from shared.errors import ClassifierError, NoFiles, UnknownField, WrongPartSize
from shared.jobs import NewItem, Outcome
from web.intake import uploads
from web.schemas import PartEntry

_ENTRIES = TypeAdapter(list[PartEntry])
_HEAD_BYTES = 16

#: Hashing this much takes a few milliseconds, in which nobody else is served.
_LARGE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class PartUpload:
    """One picture of a part. Its bytes stay where they were put when they came in."""

    name: str
    custom_id: str | None
    digest: str  #: SHA-256 of the bytes, hex.
    #: Gives its bytes; None where the sender names it by its digest alone.
    read: Callable[[], bytes] | None
    size: int
    head: bytes
    error: ClassifierError | None = None  #: Why it has none, where that is known already.


def read_part(expected: int) -> list[PartUpload]:
    """The pictures of the present request, in order. Raises InvalidRequest in several ways."""
    if unknown := {*request.form, *request.files} - {"files", "items"}:
        raise UnknownField(f"Unknown field: {min(unknown)}")
    files = request.files.getlist("files")
    entries = _entries(files)
    wanted = sum(entry.digest is None for entry in entries)
    if len(entries) != expected or len(files) != wanted:
        raise WrongPartSize(
            f"This part has {expected} items, and a file for each that is not named by its digest; "
            f"here are {len(entries)} items and {len(files)} files."
        )
    waiting = iter(files)
    return [_upload(entry, None if entry.digest else next(waiting)) for entry in entries]


def new_items(
    uploaded: Sequence[PartUpload], outcomes: Sequence[Outcome | None]
) -> Iterator[NewItem]:
    """The same for the records; each picture is read as it is asked for."""
    for each, outcome in zip(uploaded, outcomes, strict=True):
        assert outcome or each.read
        yield NewItem(
            name=each.name,
            digest=each.digest,
            data=b"" if outcome or not each.read else each.read(),
            custom_id=each.custom_id,
            outcome=outcome,
        )


def _entries(files: Sequence[FileStorage]) -> list[PartEntry]:
    text = request.form.get("items")
    if text is not None:
        return _ENTRIES.validate_json(text)
    if not files:
        raise NoFiles
    return [PartEntry(name=file.filename or "") for file in files]


def _upload(entry: PartEntry, file: FileStorage | None) -> PartUpload:
    name = uploads.clean(entry.name)
    if file is None:
        assert entry.digest
        return PartUpload(
            name=name, custom_id=entry.custom_id, digest=entry.digest, read=None, size=0, head=b""
        )
    head = file.stream.read(_HEAD_BYTES)
    file.stream.seek(0)
    digest = hashlib.file_digest(file.stream, "sha256").hexdigest()  # type: ignore[arg-type]
    size = file.stream.tell()
    if size > _LARGE_BYTES:
        time.sleep(0)  # whoever else waits for this process takes a turn
    return PartUpload(
        name=name,
        custom_id=entry.custom_id,
        digest=digest,
        read=partial(_read, file),
        size=size,
        head=head,
    )


def _read(file: FileStorage) -> bytes:
    file.stream.seek(0)
    return file.stream.read()

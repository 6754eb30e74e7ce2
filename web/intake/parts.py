"""The form of a part: for each item a file, or an entry with the picture's digest alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial

from werkzeug.datastructures import FileStorage, MultiDict

from shared.errors import UnknownField, WrongPartSize
from shared.formats import HEAD_BYTES
from shared.sizes import count_text
from web.intake.part_entries import count_of, named, read_entries
from web.intake.uploads import (
    Upload,
    clean,
    clean_id,
    contents,
    digest,
    fault,
    no_picture,
    pieces,
)
from web.schemas.submission import PartEntry
from web.server.fairness.pacing import let_others_run

#: Hashing this many bytes takes a few milliseconds, in which no other client is served.
_LARGE_BYTES = 2**20


def read_part(
    form: Mapping[str, str],
    files: MultiDict[str, FileStorage],
    *,
    items: int,
    max_bytes: int,
) -> list[Upload]:
    """The pictures of a part of `items` items, in order; each may have `max_bytes`.

    Raises NoFiles, UnknownField, InvalidRequest, WrongPartSize, and ValidationError for malformed
    entries.
    """
    if unknown := {*form, *files} - {"files", "items"}:
        what = f"Unknown field `{min(unknown)}`" if min(unknown) else "A field has no name"
        raise UnknownField(f"{what}. Send the pictures in the field `files`.")
    pictures = files.getlist("files")
    if not pictures and "items" not in form:
        raise no_picture("files", form)
    entries = _entries(form.get("items"), pictures)
    with_file = sum(entry.digest is None for entry in entries)
    if len(entries) != items or len(pictures) != with_file:
        raise WrongPartSize(
            f"This part has {count_text(items, 'item')}, and needs a file for each item without a "
            f"digest. The form had {count_of(entries)} and {count_text(len(pictures), 'file')}."
        )
    following = iter(pictures)
    return [
        named(entry, entry.digest) if entry.digest else _sent(entry, next(following), max_bytes)
        for entry in entries
    ]


def _entries(text: str | None, pictures: Sequence[FileStorage]) -> list[PartEntry]:
    if text is not None:
        return read_entries(text, PartEntry, where="items")
    return [PartEntry(name=picture.filename or "") for picture in pictures]


def _sent(entry: PartEntry, picture: FileStorage, max_bytes: int) -> Upload:
    """A picture whose bytes stay where the form parser put them: in memory or on disk."""
    head = picture.stream.read(HEAD_BYTES)
    picture.stream.seek(0)
    hashed = digest(pieces(picture.stream))
    size = picture.stream.seek(0, os.SEEK_END)
    if size > _LARGE_BYTES:
        let_others_run()
    return Upload(
        name=clean(entry.name),
        custom_id=clean_id(entry.custom_id),
        digest=hashed,
        size=size,
        read=partial(contents, picture.stream),
        error=fault(head, size, max_bytes=max_bytes),
    )

"""The form of a part: for each item a file, or an entry with the picture's digest alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from pydantic import FailFast, TypeAdapter
from werkzeug.datastructures import FileStorage, MultiDict

from shared.errors import UnknownField, WrongPartSize
from shared.formats import HEAD_BYTES
from shared.sizes import count_text
from web.intake.uploads import (
    FORM,
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
from web.server.pacing import let_others_run

# It stops at the first bad entry: a list of errors for 160,000 would take a second.
_ENTRIES = TypeAdapter(Annotated[list[PartEntry], FailFast()])

#: An escape in JSON. The group has any escape but that of a lone surrogate.
_ESCAPE = re.compile(
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u(?![dD][89a-fA-F])|\\[^u])"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)

#: Hashing this many bytes takes a few milliseconds, in which no other client is served.
_LARGE_BYTES = 2**20


def read_part(
    form: Mapping[str, str],
    files: MultiDict[str, FileStorage],
    *,
    body: str = FORM,
    items: int,
    max_bytes: int,
) -> list[Upload]:
    """The pictures of a part of `items` items, in order; each may have `max_bytes`.

    `body` is the content type of the request.

    Raises NoFiles, UnknownField, WrongPartSize, and ValidationError for malformed entries.
    """
    if unknown := {*form, *files} - {"files", "items"}:
        raise UnknownField(
            f"Unknown field `{min(unknown)}`. Send the pictures in the field `files`."
        )
    pictures = files.getlist("files")
    if not (form or files):
        raise no_picture("files", (), body)
    entries = _entries(form.get("items"), pictures)
    with_file = sum(entry.digest is None for entry in entries)
    if len(entries) != items or len(pictures) != with_file:
        due, got = count_text(items, "item"), count_text(len(entries), "item")
        raise WrongPartSize(
            f"This part has {due}, and needs a file for each item without a digest. "
            f"The form had {got} and {count_text(len(pictures), 'file')}."
        )
    following = iter(pictures)
    return [
        _named(entry, entry.digest) if entry.digest else _sent(entry, next(following), max_bytes)
        for entry in entries
    ]


def _entries(text: str | None, pictures: Sequence[FileStorage]) -> list[PartEntry]:
    if text is not None:
        # A name that is not UTF-8 may come as lone surrogates, which pydantic refuses.
        text = _ESCAPE.sub(lambda escape: escape[1] or r"\ufffd", text)
        return _ENTRIES.validate_json(text)
    if not pictures:
        raise no_picture("files", ())
    return [PartEntry(name=picture.filename or "") for picture in pictures]


def _named(entry: PartEntry, digest: str) -> Upload:
    """A picture that the client names by its digest."""
    return Upload(
        name=clean(entry.name),
        custom_id=clean_id(entry.custom_id),
        digest=digest,
        size=0,
        read=None,
    )


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

"""The form of a part: for each item a file, or an entry with the picture's digest alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Annotated, Any

from pydantic import FailFast, TypeAdapter
from werkzeug.datastructures import FileStorage, MultiDict

from shared.errors import InvalidRequest, UnknownField, WrongPartSize
from shared.formats import HEAD_BYTES
from shared.jobs import PART_SIZE
from shared.sizes import count_text
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
from web.server.pacing import let_others_run

# It stops at the first bad entry. Half a second would pass with a list of errors for all, or with a
# check of all entries or fields that fit into a form. So only so many are checked as can be right.
_ENTRIES = TypeAdapter(Annotated[list[PartEntry], FailFast()])

_FIELDS = len(PartEntry.model_fields)

#: JSON may have lone surrogates where a name is not UTF-8. pydantic refuses them.
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

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
        raise UnknownField(
            f"Unknown field `{min(unknown)}`. Send the pictures in the field `files`."
        )
    pictures = files.getlist("files")
    if not (form or files):
        raise no_picture("files", ())
    entries = _entries(form.get("items"), pictures)
    with_file = sum(entry.digest is None for entry in entries)
    if len(entries) != items or len(pictures) != with_file:
        due, got = count_text(items, "item"), count_text(len(entries), "item")
        if len(entries) > PART_SIZE:
            got = f"more than {PART_SIZE} items"
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
        return _ENTRIES.validate_python(_first_entries(text))
    if not pictures:
        raise no_picture("files", ())
    return [PartEntry(name=picture.filename or "") for picture in pictures]


def _first_entries(text: str) -> Any:
    """What JSON says, without entries and fields beyond the first that is too much."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"items: This is not valid JSON: {error}.") from error
    if not isinstance(entries, list):
        return entries
    return [
        _first_fields(entry) if isinstance(entry, dict) else entry
        for entry in entries[: PART_SIZE + 1]
    ]


def _first_fields(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        _valid(name): _valid(value) if isinstance(value, str) else value
        for name, value in islice(entry.items(), _FIELDS + 1)
    }


def _valid(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", text)


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

"""One uploaded picture: its name, size, digest, and whether it is a picture at all.

It is checked once, when it is read. Workers decode it later.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO

from shared.errors import (
    ClassifierError,
    EmptyFile,
    ImageTooLarge,
    InvalidRequest,
    NoFiles,
    UnsupportedFormat,
)
from shared.formats import recognised
from shared.jobs import NewItem, Outcome
from shared.sizes import too_large
from web.intake.archives.archive import begins_as_archive
from web.server.fairness.pacing import let_others_run

#: What a form carries besides its pictures, in bytes at most: boundaries, headers, other fields.
FORM_OVERHEAD = 64 * 2**10

_PIECE_BYTES = 2**20

#: The content type of a form with files.
FORM = "multipart/form-data"

_MAX_NAME = 512

#: Characters that change how the text around them is shown: control characters and line ends,
#: bidirectional controls, and lone surrogates. All other characters of a name stay, so that
#: results can be joined to files. macOS writes U+202F into names, for example.
_HARMFUL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029"
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    r"\ud800-\udfff]"
)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A picture as it was uploaded."""

    name: str  #: Cleaned by `clean`.
    digest: str  #: SHA-256 of the bytes, hex.
    size: int
    #: Gives the bytes, from where they are kept; None if the client named only the digest.
    read: Callable[[], bytes] | None
    custom_id: str | None = None
    error: ClassifierError | None = None  #: Why it is no picture.


def read_upload(
    name: str | None, data: bytes, *, max_bytes: int, custom_id: str | None = None
) -> Upload:
    """A picture whose bytes are in memory; `max_bytes` are allowed."""
    return Upload(
        name=clean(name or ""),
        digest=digest(
            memoryview(data)[start : start + _PIECE_BYTES]
            for start in range(0, len(data), _PIECE_BYTES)
        ),
        size=len(data),
        read=lambda: data,
        custom_id=clean_id(custom_id),
        error=fault(data, len(data), max_bytes=max_bytes),
    )


def digest(pieces: Iterable[bytes | memoryview]) -> str:
    """SHA-256 of all pieces, hex. Other clients run between two of them."""
    sha = hashlib.sha256()
    for number, piece in enumerate(pieces):
        if number:
            let_others_run()
        sha.update(piece)
    return sha.hexdigest()


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """All of a file, a megabyte at a time. Hashing that takes about a millisecond."""
    file.seek(0)
    return iter(partial(file.read, _PIECE_BYTES), b"")


def contents(file: IO[bytes]) -> bytes:
    """All bytes of a file. Those that are in memory are not copied."""
    if isinstance(file, io.BytesIO):
        return file.getvalue()
    file.seek(0)
    return file.read()


def fault(head: bytes, size: int, *, max_bytes: int) -> ClassifierError | None:
    """Why a file of `size` bytes that begins with `head` is no picture; None if it may be one.

    Its content decides: a name or a Content-Type is only a claim of the client.
    """
    if not size:
        return EmptyFile()
    if size > max_bytes:
        return ImageTooLarge(f"The file has {too_large(size, max_bytes, 'MAX_IMAGE_BYTES')}.")
    if recognised(head):
        return None
    if begins_as_archive(head):
        return UnsupportedFormat(
            "The file is an archive, not a picture. Send it to POST /jobs, as the only file."
        )
    return UnsupportedFormat()


def no_picture(field: str, sent: Collection[str], body: str = FORM) -> ClassifierError:
    """The error for a request without a file in the field that carries pictures.

    `sent` are the fields of its form, and `body` is the content type of its body.
    """
    if field in sent:
        return InvalidRequest(
            f"The field `{field}` has text instead of a file. "
            f"With curl, write `-F {field}=@picture.jpg`."
        )
    if body != FORM:
        return NoFiles(
            f"Send the pictures in the field `{field}` of a form ({FORM}); "
            f"the body {f'was {clean(body)[:64]}' if body else 'had no content type'}."
        )
    names = ", ".join(
        f"`{clean(name)[:64]}`" if name else "a field without a name" for name in sorted(sent)[:5]
    )
    what = "picture" if field == "file" else "pictures"
    return NoFiles(f"Send the {what} in the field `{field}`; the form had {names or 'no fields'}.")


def clean(name: str) -> str:
    """A name for answers, tables and logs: U+FFFD for harmful characters, bounded length."""
    return _HARMFUL.sub("\ufffd", name[-_MAX_NAME:])


def clean_id(custom_id: str | None) -> str | None:
    """A `custom_id` without harmful characters. Programs join tables by it, so nothing is added."""
    return _HARMFUL.sub("", custom_id) if custom_id else custom_id


def new_items(uploads: Sequence[Upload], outcomes: Sequence[Outcome | None]) -> Iterator[NewItem]:
    """Uploads as the records take them. Each picture is read when its item is asked for.

    A picture that has an outcome already is not read.
    """
    for upload, outcome in zip(uploads, outcomes, strict=True):
        assert outcome or upload.read
        yield NewItem(
            name=upload.name,
            digest=upload.digest,
            data=b"" if outcome or not upload.read else upload.read(),
            custom_id=upload.custom_id,
            outcome=outcome,
            sent=upload.read is not None,
        )

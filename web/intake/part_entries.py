"""The entries of a part: JSON that says for each item its name, and where its bytes are."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import FailFast, TypeAdapter

from shared.errors import InvalidRequest
from shared.jobs import PART_SIZE
from shared.sizes import count_text
from web.intake.uploads import Upload, clean, clean_id
from web.schemas.submission import PartEntry, RawEntry

E = TypeVar("E", PartEntry, RawEntry)

# It stops at the first bad entry. Half a second would pass with a list of errors for all, or with a
# check of all entries or fields that fit into a form. So only so many are checked as can be right.
_ADAPTERS: dict[type[PartEntry], TypeAdapter[Any]] = {
    PartEntry: TypeAdapter(Annotated[list[PartEntry], FailFast()]),
    RawEntry: TypeAdapter(Annotated[list[RawEntry], FailFast()]),
}

#: What each further value, list or object in JSON has, and how many a text may have. The names of a
#: part have at most 8,160 characters.
_SEPARATORS, _MOST_SEPARATORS = (b",", b"[", b"{"), 10_000

#: JSON may have lone surrogates where a name is not UTF-8. pydantic refuses them.
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def read_entries(text: str | bytes | bytearray, kind: type[E], *, where: str) -> list[E]:
    """The entries of a part; at most one more than it may have.

    Raises InvalidRequest that names `where`, and ValidationError for malformed entries.
    """
    data = text.encode(errors="replace") if isinstance(text, str) else text
    # Half a megabyte of empty lists would take 50 ms, in which no other client is served.
    if max(map(data.count, _SEPARATORS)) > _MOST_SEPARATORS:
        raise InvalidRequest(f"{where}: The JSON has too many values.")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{where}: This is not valid JSON: {error}.") from error
    if isinstance(entries, list):
        most = len(kind.model_fields) + 1
        entries = [_first_fields(entry, most) for entry in entries[: PART_SIZE + 1]]
    valid: list[E] = _ADAPTERS[kind].validate_python(entries)
    return valid


def count_of(entries: list[E]) -> str:
    """The number of entries that `read_entries` gave, as text."""
    count = len(entries)
    return count_text(count, "item") if count <= PART_SIZE else f"more than {PART_SIZE} items"


def named(entry: PartEntry, digest: str) -> Upload:
    """A picture that the client names by its digest."""
    return Upload(
        name=clean(entry.name),
        custom_id=clean_id(entry.custom_id),
        digest=digest,
        size=0,
        read=None,
    )


def _first_fields(entry: Any, most: int) -> Any:
    if not isinstance(entry, dict):
        return entry
    return {
        _valid(name): _valid(value) if isinstance(value, str) else value
        for name, value in islice(entry.items(), most)
    }


def _valid(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", text)

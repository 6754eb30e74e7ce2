"""A line of the file of keys: `name:sha256 field=value …`.

alice:<sha256> scopes=classify,operate expires=2027-01-31 images=20000 weight=2
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

from web.http.api_keys.key import ApiKey, Limits, Scope

NAME = r"[A-Za-z0-9._-]{1,64}"
_NAMED_DIGEST = re.compile(rf"({NAME}):([0-9a-f]{{64}})")
_UNITS = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
_MOST_WEIGHT = 1000


def parse(text: str) -> ApiKey:
    """The key of a line that has no comment.

    Raises ValueError, whose text names only fields. The rest may be a key that stands in the file
    by mistake.
    """
    named_digest, *words = text.split()
    match = _NAMED_DIGEST.fullmatch(named_digest)
    if not match:
        raise ValueError(
            "is not `name:sha256` with a hash in lower-case hex. "
            "`python -m web.http.api_keys NAME` prints a line."
        )
    name, digest = match.groups()
    fields: dict[str, Any] = {}
    for word in words:
        field, _, value = word.partition("=")
        if field not in FIELDS:
            known = ", ".join(f"`{each}`" for each in FIELDS)
            raise ValueError(f"has a field that is not known. A field is one of {known}.")
        if field in fields:
            raise ValueError(f"has the field `{field}` twice.")
        fields[field] = read(field, value)
    scopes = {each: fields.pop(each) for each in ("scopes", "expires") if each in fields}
    limits = Limits(**{field.replace("-", "_"): value for field, value in fields.items()})
    return ApiKey(name=name, digest=digest, limits=limits, **scopes)


def read(field: str, value: str) -> Any:
    """The value of a field. Raises ValueError, which says what is allowed."""
    kind, allowed = FIELDS[field]
    try:
        return kind(value)
    except (ValueError, KeyError):
        raise ValueError(f"has a wrong value of `{field}`, which is {allowed}.") from None


def _scopes(value: str) -> frozenset[Scope]:
    return frozenset(Scope(each) for each in value.split(","))


def _day(value: str) -> date:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", value):  # Python also reads `20270131`
        raise ValueError(value)
    return date.fromisoformat(value)


def _count(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", value):  # Python also reads `1_000` and digits of others
        raise ValueError(value)
    return int(value)


def _bytes(value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15})([KMG]B)?", value)
    if not match:
        raise ValueError(value)
    return int(match[1]) * _UNITS[match[2] or ""]


def _weight(value: str) -> int:
    weight = _count(value)
    if not 1 <= weight <= _MOST_WEIGHT:
        raise ValueError(value)
    return weight


#: How each field is read, and what its value is.
FIELDS: Mapping[str, tuple[Callable[[str], Any], str]] = MappingProxyType(
    {
        "scopes": (_scopes, "`classify`, `operate` or `classify,operate`"),
        "expires": (_day, "the last day of the key, as in `2027-01-31`"),
        "images": (_count, "a whole number"),
        "bytes": (_bytes, "a whole number, also with `KB`, `MB` or `GB`"),
        "images-per-day": (_count, "a whole number"),
        "weight": (_weight, f"a whole number from 1 to {_MOST_WEIGHT}"),
    }
)

"""The entries of a part: what is expensive to read is refused before it is read."""

from __future__ import annotations

import json

import pytest

from shared.errors import InvalidRequest
from shared.jobs import PART_SIZE
from web.intake.part_entries import read_entries
from web.schemas.submission import PartEntry, RawEntry


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1", b"[[]]"])
def test_many_values_are_refused_before_they_are_read(value: bytes) -> None:
    line = b"[" + b",".join([value] * 80_000) + b"]"
    with pytest.raises(InvalidRequest, match="first line: The JSON has too many values"):
        read_entries(line, RawEntry, where="first line")


def test_lists_in_lists_are_refused_before_they_are_read() -> None:
    with pytest.raises(InvalidRequest, match="too many values"):
        read_entries("[" * 400_000, PartEntry, where="items")


@pytest.mark.parametrize("character", [",", "[", "{", "\udc80"])
def test_a_name_may_have_any_characters(character: str) -> None:
    named = [{"name": character * 255}] * PART_SIZE
    entries = read_entries(json.dumps(named), PartEntry, where="items")
    assert len(entries) == PART_SIZE

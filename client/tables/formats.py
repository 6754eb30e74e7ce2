"""Rows as text: JSON Lines or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from .rows import Row, flat

#: A spreadsheet treats a cell as a formula if it starts with one of these.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class RowFormat(Protocol):
    def head(self) -> str:
        """The text before the first row."""

    def text(self, rows: Iterable[Row]) -> str:
        """The text of nested rows."""


class JsonLines:
    def head(self) -> str:
        return ""

    def text(self, rows: Iterable[Row]) -> str:
        return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)

    @staticmethod
    def read(lines: Iterable[str]) -> Iterator[Row]:
        return map(json.loads, lines)


class Csv:
    """RFC 4180. Text that a spreadsheet would treat as a formula starts with an apostrophe."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def head(self) -> str:
        return self._lines([self._columns])

    def text(self, rows: Iterable[Row]) -> str:
        return self._lines(self._cells(flat(each)) for each in rows)

    def _cells(self, cells: Row) -> list[Any]:
        return [_cell(cells.get(name)) for name in self._columns]

    @staticmethod
    def _lines(lines: Iterable[Iterable[Any]]) -> str:
        text = io.StringIO()
        csv.writer(text).writerows(lines)
        return text.getvalue()


def row_format(suffix: str, columns: Sequence[str]) -> RowFormat:
    """The format of the rows of a table whose file name ends in `suffix`.

    Parquet cannot be appended to. Its rows are collected as JSON Lines.
    """
    return Csv(columns) if suffix == ".csv" else JsonLines()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    # File names and messages come from others.
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return value

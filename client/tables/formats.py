"""Rows as text: JSON Lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from ..text import without_unsafe
from .rows import Row, flat

#: Signs that start a formula, also in their wide forms.
_SIGNS = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"

#: A cell that a spreadsheet may treat as a formula. Some skip white space before the sign.
_FORMULA = re.compile(rf"[\t\r\n]|[\s\x00-\x1f\u200b\ufeff]*{_SIGNS}")

#: The place inside a cell where a formula would start, if a spreadsheet splits cells at another
#: separator than the comma. It ignores our quotes then.
_INNER_FORMULA = re.compile(rf'([;|\t\r\n][\s"]*)(?={_SIGNS})')

#: That place with its apostrophe.
_GUARDED_INNER = re.compile(rf"([;|\t\r\n][\s\"]*)'(?={_SIGNS})")


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
    """RFC 4180, with all text in quotes.

    An apostrophe stands before each sign at which a spreadsheet could start a formula. The column
    `raw_path` has none, because programs join tables by it.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def head(self) -> str:
        return self._lines([self._columns])

    def text(self, rows: Iterable[Row]) -> str:
        return self._lines(self._cells(flat(each)) for each in rows)

    def _cells(self, cells: Row) -> list[Any]:
        return [_cell(name, cells.get(name)) for name in self._columns]

    @staticmethod
    def _lines(lines: Iterable[Iterable[Any]]) -> str:
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerows(lines)
        return text.getvalue()


def row_format(suffix: str, columns: Sequence[str]) -> RowFormat:
    """The format of the rows of a table whose file name ends in `suffix`.

    Parquet cannot be appended to. Its rows are collected as JSON Lines.
    """
    return Csv(columns) if suffix == ".csv" else JsonLines()


def _cell(column: str, value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str) or column == "raw_path":
        return value
    if column == "custom_id":
        value = without_unsafe(value)
    return guarded(value)


def guarded(value: Any) -> Any:
    """Text with an apostrophe before each sign at which a spreadsheet could start a formula."""
    if not isinstance(value, str):
        return value
    value = _INNER_FORMULA.sub(r"\1'", value)
    return f"'{value}" if _FORMULA.match(value) else value


def without_guard(column: str, cell: str) -> str:
    """The text of a cell of CSV, without the apostrophes that stand before signs."""
    if column == "raw_path":
        return cell
    if cell.startswith("'") and _FORMULA.match(cell[1:]):
        cell = cell[1:]
    return _GUARDED_INNER.sub(r"\1", cell)

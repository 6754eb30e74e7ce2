"""Rows as text: JSON Lines or CSV."""

from __future__ import annotations

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

#: Columns whose cells are words of the service, and such a word.
_WORD_COLUMNS = ("state", "error_code")
_WORD = re.compile(r"[a-z0-9_]+")


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
    """RFC 4180, as the service writes it.

    Text is in quotes. Column names, states, error codes, numbers, true, false and empty cells are
    not. An apostrophe stands before each sign at which a spreadsheet could start a formula. The
    column `raw_path` has none, because programs join tables by it.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def head(self) -> str:
        return _line(self._columns)

    def text(self, rows: Iterable[Row]) -> str:
        return "".join(self._row(flat(each)) for each in rows)

    def _row(self, cells: Row) -> str:
        return _line(_cell(name, cells.get(name)) for name in self._columns)


def row_format(suffix: str, columns: Sequence[str]) -> RowFormat:
    """The format of the rows of a table whose file name ends in `suffix`.

    Parquet cannot be appended to. Its rows are collected as JSON Lines.
    """
    return Csv(columns) if suffix == ".csv" else JsonLines()


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\r\n"


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    return _text_cell(column, value)


def _text_cell(column: str, text: str) -> str:
    if not text or column in _WORD_COLUMNS and _WORD.fullmatch(text):
        return text
    if column == "custom_id":
        text = without_unsafe(text)
    if column != "raw_path":
        text = guarded(text)
    return '"' + text.replace('"', '""') + '"'


def guarded(value: Any) -> Any:
    """Text with an apostrophe before each sign at which a spreadsheet could start a formula."""
    if not isinstance(value, str):
        return value
    text = _INNER_FORMULA.sub(r"\1'", value)
    return f"'{text}" if _FORMULA.match(text) else text


def without_guard(column: str, cell: str) -> str:
    """The text of a cell of CSV, without the apostrophes that stand before signs."""
    if column == "raw_path":
        return cell
    if cell.startswith("'") and _FORMULA.match(cell[1:]):
        cell = cell[1:]
    return _GUARDED_INNER.sub(r"\1", cell)

"""A row of a table: nested in JSON Lines, one value a column in CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from ..api.records import Item

Row = Mapping[str, Any]

#: A spreadsheet runs a cell that starts with one of these.
_RUN = ("=", "+", "-", "@", "\t", "\r")


def row(item: Item, **leading: Any) -> Row:
    """What is told of an item, after the columns `leading`."""
    return leading | {
        "state": item.state,
        "predictions": [asdict(each) for each in item.predictions],
        "error": item.error and asdict(item.error),
        "model_version": item.model_version,
        "cache_hit": item.cache_hit,
        "durations": item.durations and asdict(item.durations),
    }


def flat_columns(leading: Iterable[str], top_k: int) -> list[str]:
    named = [*leading, "state", "label", "probability", "class_id", "error_code", "error_message"]
    named += ["model_version", "cache_hit", "queue_ms", "preprocess_ms", "inference_ms"]
    return named + [f"{name}_{k}" for k in range(2, top_k + 1) for name in ("label", "probability")]


def flat(whole: Row) -> Row:
    """One value for each column; those that the row lacks are left out."""
    nested = ("predictions", "error", "durations")
    cells = {name: value for name, value in whole.items() if name not in nested}
    if error := whole["error"]:
        cells |= {"error_code": error["code"], "error_message": error["message"]}
    cells |= whole["durations"] or {}
    for place, each in enumerate(whole["predictions"], start=1):
        suffix = "" if place == 1 else f"_{place}"
        cells |= {f"label{suffix}": each["class_name"], f"probability{suffix}": each["probability"]}
        if place == 1:
            cells["class_id"] = each["class_id"]
    return cells


class RowFormat(Protocol):
    def head(self) -> str: ...

    def text(self, rows: Iterable[Row]) -> str: ...


class JsonLines:
    def head(self) -> str:
        return ""

    def text(self, rows: Iterable[Row]) -> str:
        return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)

    @staticmethod
    def read(lines: Iterable[str]) -> Iterator[Row]:
        return map(json.loads, lines)


class Csv:
    """RFC 4180, with an apostrophe before what a spreadsheet would run."""

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
    return Csv(columns) if suffix == ".csv" else JsonLines()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    # A file's name is somebody else's text.
    if isinstance(value, str) and value.startswith(_RUN):
        return "'" + value
    return value

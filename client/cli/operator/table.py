"""Plain tables: a line for each row, in columns."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...text import escaped
from ..output import print_json, print_line


def print_records(
    records: Sequence[Mapping[str, Any]],
    options: argparse.Namespace,
    head: Sequence[str],
    row: Callable[[Any], Sequence[object]],
    *,
    empty: str,
) -> None:
    """Print records of the service as JSON, if `options` say so, or as a table of their rows."""
    if options.json:
        print_json(records)
    else:
        print_table(head, [row(each) for each in records], empty=empty)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print rows below a head. Prints the sentence `empty` if there are none."""
    if not rows:
        return print_line(empty)
    lines = [[escaped(_text(cell)) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print_line("  ".join(cells).rstrip())


def moment(seconds: float | None) -> str:
    """A time of day here, from Unix seconds."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"


def _text(cell: object) -> str:
    return "-" if cell is None or cell == "" else str(cell)

"""Plain tables: a line for each row, in columns."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...text import escaped
from ..output import print_line


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

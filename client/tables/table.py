"""A table in a file that grows safely.

Rows are appended. `commit` returns the length of the file when its rows are on the disk. A later
run cuts the file back to the length that was noted last. Therefore no row is torn or written twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from ..errors import UsageError
from ..text import path_text
from .formats import row_format
from .parquet import write_parquet
from .rows import Row

_SUFFIXES = (".csv", ".jsonl", ".parquet")


class Table:
    """An open file to which rows are appended. Raises OSError if the disk fails."""

    def __init__(self, path: Path, columns: Iterable[str], *, length: int = 0) -> None:
        """`length` is what `commit` returned last. What the file has after it is cut off.

        Raises UsageError if the file is shorter: somebody has changed or removed it.
        """
        self._path = path
        self._columns = list(columns)
        self._format = row_format(path.suffix, self._columns)
        self._rows = rows_path(path)
        # Without a buffer: what could not be written must not be written again by `close`.
        self._file = open(self._rows, "ab", buffering=0)
        if os.fstat(self._file.fileno()).st_size < length:
            self._file.close()
            raise UsageError(
                f"{path_text(str(self._rows))} has been changed or removed since the last run."
                " Restore it, or give --overwrite to start again."
            )
        self._file.truncate(length)
        if length == 0:
            self._write(self._format.head())

    def append(self, rows: Iterable[Row]) -> None:
        self._write(self._format.text(rows))

    def commit(self) -> int:
        """Put all rows on the disk. Returns the length of the file in bytes."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()

    def finish(self) -> None:
        """Close the file and make the table from it, if the file is not the table itself."""
        self.close()
        if self._rows != self._path:
            write_parquet(self._rows, self._path, self._columns)

    def _write(self, text: str) -> None:
        left = memoryview(text.encode())
        while left:
            left = left[self._file.write(left) :]


def rows_path(table: Path) -> Path:
    """The file to which rows are appended. Parquet is made from JSON Lines in a second file."""
    return table.with_name(table.name + ".rows") if table.suffix == ".parquet" else table


def check_table_path(path: Path, *, embeddings: bool = False) -> None:
    """Raises UsageError if no table can be made at this path, or none with embeddings."""
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"{path}: the name of a table must end in .csv, .jsonl or .parquet.")
    if embeddings and path.suffix == ".csv":
        raise UsageError(f"{path}: --embeddings needs a table that ends in .jsonl or .parquet.")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError("Parquet needs pyarrow. Install it with: pip install pyarrow")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder.")


def check_new(path: Path, *, overwrite: bool) -> None:
    """Raises UsageError if there is a file that the user has not allowed to be replaced."""
    if path.exists() and not overwrite:
        shown = path_text(str(path))
        raise UsageError(f"{shown} exists. Give --overwrite to replace it, or another --output.")

"""The table of an upload or a job, in a file that can grow safely.

Rows are appended, and `commit` tells how long the file is once they are on the disk. A run that
goes on cuts the file back to the length that it has noted down, so that no row is torn or comes
twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .rows import JsonLines, Row, RowFormat, flat, row_format

if TYPE_CHECKING:
    import pyarrow

_SUFFIXES = (".csv", ".jsonl", ".parquet")

#: Rows that become Parquet at a time.
_ROWS = 10_000


class Table:
    """An open file that rows are appended to. Errors of the disk are OSError.

    What it holds beyond `length` is cut off: rows that were written, but not noted as written.
    """

    def __init__(self, path: Path, columns: Iterable[str], *, length: int = 0) -> None:
        self._path = path
        self._columns = list(columns)
        self._format: RowFormat = row_format(path.suffix, self._columns)
        self._rows = rows_path(path)
        # Unbuffered: what could not be written must not be tried again at the end.
        self._file = open(self._rows, "ab", buffering=0)
        self._file.truncate(length)
        if length == 0:
            self._write(self._format.head())

    def append(self, rows: Iterable[Row]) -> None:
        self._write(self._format.text(rows))

    def commit(self) -> int:
        """Length in bytes, all of it on the disk."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()

    def finish(self) -> None:
        """Make the table of the rows, where they are not the table themselves."""
        self.close()
        if self._rows != self._path:
            _write_parquet(self._rows, self._path, self._columns)

    def _write(self, text: str) -> None:
        left = memoryview(text.encode())
        while left:
            left = left[self._file.write(left) :]


def rows_path(table: Path) -> Path:
    """Where rows are appended: Parquet cannot be, so it is made of JSON Lines beside it."""
    return table.with_name(table.name + ".rows") if table.suffix == ".parquet" else table


def check_format(path: Path) -> None:
    """Raises UsageError where such a table cannot be made."""
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"{path}: a table ends in {', '.join(_SUFFIXES)}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError("Parquet needs pyarrow: pip install 'image-classifier-client[parquet]'")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder")


def _write_parquet(rows: Path, table: Path, columns: Iterable[str]) -> None:
    """All at once under another name: there is a whole table, or none."""
    from pyarrow import parquet  # an extra, and slow to import

    schema = _schema(columns)
    unfinished = table.with_name(table.name + ".partial")
    with parquet.ParquetWriter(unfinished, schema) as writer:
        for batch in _batches(rows, schema):
            writer.write_batch(batch)
    with open(unfinished, "rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, table)


def _batches(rows: Path, schema: pyarrow.Schema) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow

    with open(rows, encoding="utf-8") as lines:
        cells: list[Row] = []
        for whole in JsonLines.read(lines):
            cells.append(flat(whole))
            if len(cells) == _ROWS:
                yield pyarrow.RecordBatch.from_pylist(cells, schema)
                cells.clear()
        yield pyarrow.RecordBatch.from_pylist(cells, schema)


def _schema(columns: Iterable[str]) -> pyarrow.Schema:
    import pyarrow

    kinds = {"index": pyarrow.int64(), "class_id": pyarrow.int32(), "cache_hit": pyarrow.bool_()}

    def kind(name: str) -> pyarrow.DataType:
        if name.startswith("probability") or name.endswith("_ms"):
            return pyarrow.float64()
        return kinds.get(name, pyarrow.string())

    return pyarrow.schema([(name, kind(name)) for name in columns])

"""A Parquet table, made from rows in JSON Lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .formats import JsonLines
from .rows import Row, flat

if TYPE_CHECKING:
    import pyarrow

#: Rows that are converted at a time.
_BATCH = 10_000


def write_parquet(rows: Path, table: Path, columns: Iterable[str]) -> None:
    """Make `table` from the JSON Lines in `rows`.

    It is written under another name first. So `table` is complete, or is not there.
    """
    from pyarrow import parquet  # pyarrow is optional, and slow to import

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
        for nested in JsonLines.read(lines):
            cells.append(flat(nested))
            if len(cells) == _BATCH:
                yield pyarrow.RecordBatch.from_pylist(cells, schema)
                cells.clear()
        yield pyarrow.RecordBatch.from_pylist(cells, schema)


def _schema(columns: Iterable[str]) -> pyarrow.Schema:
    import pyarrow

    types = {"index": pyarrow.int64(), "class_id": pyarrow.int32(), "cache_hit": pyarrow.bool_()}
    types |= {"below_threshold": pyarrow.bool_(), "label_count": pyarrow.int32()}

    def type_of(name: str) -> pyarrow.DataType:
        if name.startswith("probability") or name.endswith("_ms"):
            return pyarrow.float64()
        return types.get(name, pyarrow.string())

    return pyarrow.schema([(name, type_of(name)) for name in columns])

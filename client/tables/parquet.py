"""A Parquet table, made from rows in JSON Lines."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from .formats import JsonLines
from .rows import EMBEDDING, Row, flat

if TYPE_CHECKING:
    import pyarrow

#: Rows that are converted at a time. Those with embeddings have a thousand numbers each.
_BATCH, _BATCH_OF_EMBEDDINGS = 10_000, 500


def write_parquet(rows: Path, table: Path, columns: Iterable[str]) -> None:
    """Make `table` from the JSON Lines in `rows`.

    It is written under another name first. So `table` is complete, or is not there.
    """
    from pyarrow import parquet  # pyarrow is optional, and slow to import

    names = list(columns)
    size = _embedding_size(rows) if EMBEDDING in names else 0
    schema = _schema([name for name in names if name != EMBEDDING], size)
    unfinished = table.with_name(table.name + ".partial")
    with parquet.ParquetWriter(unfinished, schema) as writer:
        for batch in _batches(rows, schema, size):
            writer.write_batch(batch)
    with open(unfinished, "rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, table)


def _embedding_size(rows: Path) -> int:
    """Numbers of the first embedding; 0 if there is none."""
    with open(rows, encoding="utf-8") as lines:
        sizes = (len(nested[EMBEDDING]) for nested in JsonLines.read(lines) if EMBEDDING in nested)
        return next(sizes, 0)


def _batches(rows: Path, schema: pyarrow.Schema, size: int) -> Iterator[pyarrow.RecordBatch]:
    with open(rows, encoding="utf-8") as lines:
        nested = JsonLines.read(lines)
        while cells := list(map(flat, islice(nested, _BATCH_OF_EMBEDDINGS if size else _BATCH))):
            yield _batch(cells, schema, size)


def _batch(cells: list[Row], schema: pyarrow.Schema, size: int) -> pyarrow.RecordBatch:
    import pyarrow

    if not size:
        return pyarrow.RecordBatch.from_pylist(cells, schema)
    others = pyarrow.RecordBatch.from_pylist(cells, schema.remove(len(schema) - 1))
    embeddings = _embeddings([each.get(EMBEDDING) for each in cells], size)
    return pyarrow.RecordBatch.from_arrays([*others.columns, embeddings], schema=schema)


def _embeddings(embeddings: list[list[float] | None], size: int) -> pyarrow.FixedSizeListArray:
    import pyarrow

    # pyarrow takes float16 from numpy only, which need not be there.
    nothing = [0.0] * size
    numbers = b"".join(struct.pack(f"<{size}e", *(each or nothing)) for each in embeddings)
    values = pyarrow.Array.from_buffers(
        pyarrow.float16(), size * len(embeddings), [None, pyarrow.py_buffer(numbers)]
    )
    missing = pyarrow.array([each is None for each in embeddings])
    return pyarrow.FixedSizeListArray.from_arrays(values, size, mask=missing)


def _schema(columns: Iterable[str], size: int) -> pyarrow.Schema:
    """`size` is that of the embeddings, whose column is the last one. 0: there is none."""
    import pyarrow

    types = {"index": pyarrow.int64(), "class_id": pyarrow.int32(), "cache_hit": pyarrow.bool_()}
    types |= {"below_threshold": pyarrow.bool_(), "label_count": pyarrow.int32()}

    def type_of(name: str) -> pyarrow.DataType:
        if name.startswith("probability") or name.endswith("_ms"):
            return pyarrow.float64()
        return types.get(name, pyarrow.string())

    fields = [(name, type_of(name)) for name in columns]
    if size:
        fields.append((EMBEDDING, pyarrow.list_(pyarrow.float16(), size)))
    return pyarrow.schema(fields)

"""A Parquet table, made from rows in JSON Lines."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING

from .formats import JsonLines
from .rows import EMBEDDING, Row, flat

if TYPE_CHECKING:
    import pyarrow

#: Embeddings of several sizes. As a size, pyarrow takes it for a list of any number of values.
_ANY_SIZE = -1

#: Rows that are converted at a time. Those with embeddings have a thousand numbers each.
_BATCH, _BATCH_OF_EMBEDDINGS = 10_000, 500


class _OtherSize(Exception):
    """An embedding has another size than the first one."""


def write_parquet(rows: Path, table: Path, columns: Iterable[str]) -> None:
    """Make `table` from the JSON Lines in `rows`.

    It is written under another name first. So `table` is complete, or is not there.
    """
    names = list(columns)
    unfinished = table.with_name(table.name + ".partial")
    try:
        try:
            _write(rows, unfinished, names, _first_size(rows) if EMBEDDING in names else 0)
        except _OtherSize:  # two models have classified the pictures
            _write(rows, unfinished, names, _ANY_SIZE)
        with open(unfinished, "rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, table)
    finally:
        unfinished.unlink(missing_ok=True)


def _write(rows: Path, unfinished: Path, names: list[str], size: int) -> None:
    """`size` is that of the embeddings, whose column is the last one. 0: there is none."""
    from pyarrow import parquet  # pyarrow is optional, and slow to import

    schema = _schema([name for name in names if name != EMBEDDING], size)
    with parquet.ParquetWriter(unfinished, schema) as writer:
        for batch in _batches(rows, schema, size):
            writer.write_batch(batch)


def _first_size(rows: Path) -> int:
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


def _embeddings(embeddings: list[list[float] | None], size: int) -> pyarrow.Array:
    """Raises _OtherSize."""
    import pyarrow

    nothing = [0.0] * max(0, size)
    lists = [nothing if each is None else each for each in embeddings]
    if size != _ANY_SIZE and any(len(each) != size for each in lists):
        raise _OtherSize
    # pyarrow takes float16 from numpy only, which need not be there.
    numbers = b"".join(struct.pack(f"<{len(each)}e", *each) for each in lists)
    values = pyarrow.Array.from_buffers(
        pyarrow.float16(), len(numbers) // 2, [None, pyarrow.py_buffer(numbers)]
    )
    missing = pyarrow.array([each is None for each in embeddings])
    if size != _ANY_SIZE:
        return pyarrow.FixedSizeListArray.from_arrays(values, size, mask=missing)
    offsets = pyarrow.array(accumulate(map(len, lists), initial=0), pyarrow.int32())
    return pyarrow.ListArray.from_arrays(offsets, values, mask=missing)


def _schema(columns: Iterable[str], size: int) -> pyarrow.Schema:
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

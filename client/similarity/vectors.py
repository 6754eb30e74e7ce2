"""The embeddings of a table of `upload`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..tables.rows import EMBEDDING
from ..text import path_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Vectors:
    paths: list[str]
    embeddings: NDArray[np.float16]  #: Of shape (pictures, size).
    without: int  #: Pictures that have none, because they failed.
    unusable: int = 0  #: Pictures whose embedding has no direction, so it has no cosine.


def check_table(table: Path) -> None:
    """Raises UsageError if the name is not one of a table with embeddings, and OSError without it.

    Numpy is not needed for this.
    """
    if table.suffix not in (".jsonl", ".parquet"):
        shown = path_text(str(table))
        raise UsageError(f"{shown} must end in .jsonl or .parquet. CSV has no embeddings.")
    table.stat()


def read_vectors(table: Path) -> Vectors:
    """Raises UsageError if the table has no embeddings, and OSError if it cannot be read."""
    import numpy as np  # optional

    read = {".jsonl": _json_lines, ".parquet": _parquet}[table.suffix]
    paths, vectors, without = [], [], 0
    versions: set[str] = set()
    try:
        for row, vector in read(table):
            if vector is None:
                without += 1
                continue
            paths.append(_path_of(row))
            vectors.append(vector)
            versions.add(row["model_version"])
        _check(table, versions)
        embeddings = np.stack(vectors)
        if embeddings.ndim != 2:
            raise ValueError("an embedding is no list of numbers")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        shown = path_text(str(table))
        raise UsageError(
            f"{shown} is not a table of `image-classifier upload`: {error!r}"
        ) from error
    usable = np.flatnonzero(np.isfinite(embeddings).all(axis=1) & embeddings.any(axis=1))
    return Vectors(
        [paths[number] for number in usable],
        embeddings[usable],
        without,
        unusable=len(paths) - len(usable),
    )


def _check(table: Path, versions: set[str]) -> None:
    """Raises UsageError unless the embeddings are of one model version."""
    shown = path_text(str(table))
    if not versions:
        raise UsageError(
            f"{shown} has no embeddings. Make it with: image-classifier upload FOLDER --embeddings"
            f" --output NEW{table.suffix}"
        )
    if len(versions) > 1:
        raise UsageError(
            f"{shown} has embeddings of several models, which cannot be compared:"
            f" {', '.join(sorted(map(str, versions)))}."
        )


def _path_of(row: dict[str, Any]) -> str:
    path = row.get("raw_path") or row["path"]
    if not isinstance(path, str):
        raise TypeError("a path is no text")
    return path


def _json_lines(table: Path) -> Iterator[tuple[dict[str, Any], NDArray[np.float16] | None]]:
    import numpy as np

    with open(table, encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            vector = row.pop(EMBEDDING, None)
            with np.errstate(over="ignore"):  # A number that is too large becomes infinite.
                yield row, None if vector is None else np.array(vector, np.float16)


def _parquet(table: Path) -> Iterator[tuple[dict[str, Any], NDArray[np.float16] | None]]:
    try:
        from pyarrow import parquet  # optional, and slow to import
    except ModuleNotFoundError as error:
        raise UsageError("Parquet needs pyarrow. Install it with: pip install pyarrow") from error
    file = parquet.ParquetFile(table)
    wanted = ["path", "raw_path", "model_version", EMBEDDING]
    columns = [name for name in wanted if name in file.schema_arrow.names]
    for batch in file.iter_batches(batch_size=1000, columns=columns):
        names = [name for name in columns if name != EMBEDDING]
        rows = batch.select(names).to_pylist()
        if EMBEDDING not in columns:
            yield from ((row, None) for row in rows)
            continue
        for row, vector in zip(rows, batch.column(EMBEDDING), strict=True):
            yield row, vector.values.to_numpy() if vector.is_valid else None

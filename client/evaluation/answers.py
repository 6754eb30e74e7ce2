"""What the service answered for each picture, from a table of `upload`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..tables.formats import without_guard
from ..tables.rows import flat
from ..text import path_text

#: The columns of the labels after the first one.
_LATER_LABEL = re.compile(r"label_(\d+)")


@dataclass(frozen=True)
class Answer:
    """The labels of one picture, most probable first. There are none if the picture failed."""

    path: str  #: Relative to the folder, as text.
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    model_version: str | None
    reaching: int = 1  #: So many of the labels, from the first one on, reach their thresholds.

    @property
    def has_label(self) -> bool:
        return self.reaching > 0


def read_table(path: Path) -> dict[str, Answer]:
    """The answers of a table by path. It is JSON Lines, CSV or Parquet.

    Raises UsageError if the file is no table of results, and OSError if it cannot be read.
    """
    read = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}.get(path.suffix)
    if read is None:
        raise UsageError(f"{path_text(str(path))} must end in .jsonl, .csv or .parquet.")
    try:
        return {each.path: each for each in map(_answer, map(_with_label, read(path)))}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path_text(str(path))} is not a table of `image-classifier upload`: {error!r}"
        ) from error


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            nested = json.loads(line)
            is_below = nested.get("below_threshold", False)
            # The predictions are there in any case, and `flat` would leave the first one out.
            yield {**flat({**nested, "below_threshold": False}), "was_below": is_below}


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with open(path, newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            yield {name: without_guard(name, text) for name, text in row.items() if text}


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import parquet  # optional, and slow to import
    except ModuleNotFoundError as error:
        raise UsageError("Parquet needs pyarrow. Install it with: pip install pyarrow") from error
    for batch in parquet.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()


def _with_label(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    if cells.get("below_threshold") in (True, "true"):
        raise UsageError(
            "The table has pictures whose labels do not reach their thresholds, those of the model"
            " or --min-score. Give a table in JSON Lines, which has these labels, too."
        )
    return cells


def _answer(cells: Mapping[str, Any]) -> Answer:
    path = cells.get("raw_path") or cells["path"]
    if cells["state"] != "succeeded":
        return Answer(path, (), (), None)
    ranks = sorted(
        int(match[1])
        for name, value in cells.items()
        if value is not None and (match := _LATER_LABEL.fullmatch(name))
    )
    suffixes = ["", *(f"_{rank}" for rank in ranks)]
    # A table without this column is of a label for each picture.
    reaching = cells.get("label_count", 0 if cells.get("was_below") else 1)
    return Answer(
        path,
        tuple(cells[f"label{suffix}"] for suffix in suffixes),
        tuple(float(cells[f"probability{suffix}"]) for suffix in suffixes),
        cells.get("model_version"),
        int(reaching),
    )

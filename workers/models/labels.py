"""Reads labels from the files in which people have them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from shared.errors import ModelError
from workers.engine.labels import read_labels as read_lines


def read_labels(path: Path, *, column: str | None = None) -> tuple[str, ...]:
    """Labels by class id: a line each, a column of CSV, a JSON list, or JSON as `{id: label}`.

    Raises ModelError if the file is something else, or a label is missing.
    """
    if path.suffix == ".json":
        return _of_json(path)
    if path.suffix in (".csv", ".tsv"):
        return _of_csv(path, column)
    if column is not None:
        raise ModelError(f"--label-column is for CSV files, and {path.name} is none.")
    return read_lines(path, "--labels")


def labels_of(entries: Any, origin: str) -> tuple[str, ...]:
    """Labels from JSON: `{id: label}`, or a list.

    Raises ModelError if it is neither, or if an id is missing or is no number.
    """
    if isinstance(entries, list):
        return _checked(entries, origin)
    if not isinstance(entries, dict):
        raise ModelError(f"{origin} must be a JSON list of labels, or an object `{{id: label}}`.")
    try:
        by_id = {int(key): value for key, value in entries.items()}
    except (TypeError, ValueError) as error:
        raise ModelError(f"{origin}: the ids of labels must be numbers: {error}.") from error
    missing = sorted(set(range(len(by_id))) - set(by_id))
    if missing:
        raise ModelError(f"{origin} has {len(by_id)} labels, and none for the class {missing[0]}.")
    return _checked([by_id[k] for k in range(len(by_id))], origin)


def _of_json(path: Path) -> tuple[str, ...]:
    try:
        value = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}.") from error
    return labels_of(value, path.name)


def _of_csv(path: Path, column: str | None) -> tuple[str, ...]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    head = text.partition("\n")[0]
    rows = list(csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=head.count)))
    columns = list(rows[0]) if rows else []
    if column is None:
        candidates = [each for each in columns if each in ("label", "name", "class")]
        if len(columns) == 1:
            candidates = columns
        if len(candidates) != 1:
            raise ModelError(
                f"{path.name} has the columns {', '.join(columns) or 'none'}."
                " Say which has the labels: --label-column NAME."
            )
        [column] = candidates
    if column not in columns:
        raise ModelError(f"{path.name} has no column {column}; it has {', '.join(columns)}.")
    ids = next((each for each in columns if each in ("id", "index", "class_id")), None)
    if ids and ids != column:
        return labels_of({row[ids]: row[column] for row in rows}, path.name)
    return _checked([row[column] for row in rows], path.name)


def _checked(labels: list[Any], origin: str) -> tuple[str, ...]:
    for class_id, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            raise ModelError(f"{origin}: the label of the class {class_id} is not text: {label!r}.")
    if not labels:
        raise ModelError(f"{origin} has no labels.")
    return tuple(label.strip() for label in labels)

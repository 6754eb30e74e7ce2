"""The right labels of each picture: the name of its folder, or a list."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from ..errors import UsageError
from ..text import count_text, path_text
from ..upload.walk import Walk

#: Names that an error lists.
_SHOWN = 5


@dataclass
class Truth:
    """The right labels, in the words of the person who sorted the pictures."""

    #: By path, as in a table. A picture has one label, except in a list of several labels.
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  #: The path on the disk, by the same path.
    without: int = 0  #: Pictures that lie in no folder.


def of_folders(walk: Walk) -> Truth:
    """A picture's label is the folder inside `walk.folder` in which it lies.

    Raises UsageError if no picture has one, and OSError as the walk does.
    """
    truth = Truth()
    for path in walk.files(lambda path, reason: None):
        name, separator, _ = path.partition(os.sep)
        if not separator:
            truth.without += 1
            continue
        truth.names[path_text(path)] = (path_text(name),)
        truth.files[path_text(path)] = path
    if not truth.names:
        raise UsageError(
            f"{path_text(walk.folder)} has no folders with pictures. Put the pictures of each label"
            " into a folder with its name, or give --truth FILE."
        )
    return truth


def of_list(folder: str, file: Path, *, several: bool = False) -> Truth:
    """From a CSV file with the columns `path` and `label`. A path is relative to `folder`.

    With `several`, a picture has the labels of all its lines, and none if its label is empty.

    Raises UsageError if the file is something else, and OSError if it cannot be read.
    """
    truth = Truth()
    for line, (path, name) in _columns(file, "path", "label", may_be_empty=several):
        path = os.path.normpath(path)
        if os.path.isabs(path):
            path = os.path.relpath(path, os.path.abspath(folder))
        before = truth.names.get(path, ())
        if before and name not in before and not several:
            raise UsageError(
                f"{path_text(str(file))}, line {line}: {path} has the labels {before[0]} and"
                f" {name}. If pictures may have several labels, add --several-labels."
            )
        is_new = name and name not in before
        truth.names[path] = (*before, name) if is_new else before
        truth.files[path] = path
    return truth


class Names:
    """Which labels of the model stand for a name. Without a file each name is a label."""

    def __init__(self, labels: Mapping[str, Iterable[str]] = {}) -> None:
        self._labels = {name: frozenset(of_name) for name, of_name in labels.items()}
        self._name = {label: name for name, each in self._labels.items() for label in each}

    @classmethod
    def read(cls, file: Path) -> Names:
        """From CSV with the columns `name` and `label`, or JSON as `{name: label or labels}`.

        Raises UsageError if the file is something else, and OSError if it cannot be read.
        """
        if file.suffix == ".json":
            return cls(_json_names(file))
        names: dict[str, list[str]] = {}
        for _, (name, label) in _columns(file, "name", "label"):
            names.setdefault(name, []).append(label)
        return cls(names)

    def name_of(self, label: str) -> str:
        """The name that a label of the model stands for."""
        return self._name.get(label, label)

    def check(self, truth: Truth, labels: Iterable[str]) -> None:
        """Raises UsageError if a name of the truth stands for a label that is none of `labels`.

        A misspelled label would make the pictures of its class wrong.
        """
        known = set(labels)
        names = {name for each in truth.names.values() for name in each}
        unknown = sorted(
            {label for name in names for label in self._labels.get(name, [name])} - known
        )
        if unknown:
            advice = "Give --names FILE, a CSV file with the columns name and label."
            if any(self._name.get(label) for label in unknown):
                advice = "Correct the labels of the file of --names."
            shown = "; ".join(_with_similar(name, known) for name in unknown[:_SHOWN])
            more = f"; and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
            raise UsageError(
                f"The model does not have {count_text(len(unknown), 'label')}:"
                f" {shown}{more}. {advice}"
            )


def _with_similar(name: str, labels: set[str]) -> str:
    similar = get_close_matches(name, labels, n=1)
    return f"{name} (it has {similar[0]})" if similar else name


def _json_names(file: Path) -> dict[str, list[str]]:
    shown = path_text(str(file))
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{shown} is not JSON: {error}") from error
    if not isinstance(names, dict):
        raise UsageError(f"{shown} is not a JSON object of names and labels.")
    lists = {name: [each] if isinstance(each, str) else each for name, each in names.items()}
    for name, labels in lists.items():
        if not isinstance(labels, list) or not all(isinstance(each, str) for each in labels):
            raise UsageError(f"{shown}: the labels of {name} are not text.")
    return lists


def _columns(
    file: Path, *wanted: str, may_be_empty: bool = False
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The line and the cells of each row. Spreadsheets separate cells by a comma, `;` or a tab.

    `may_be_empty`: the cells after the first one.
    """
    shown = path_text(str(file))
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            head = lines.readline()
            separator = max(",;\t", key=head.count)
            columns = next(csv.reader([head], delimiter=separator), [])
            if not set(wanted) <= set(columns):
                raise UsageError(
                    f"{shown} needs the columns {' and '.join(wanted)};"
                    f" its first line is: {head.strip()[:100]}"
                )
            rows = csv.DictReader(lines, columns, delimiter=separator)
            for row in rows:
                cells = tuple(row[name] or "" for name in wanted)
                if not all(cells[:1] if may_be_empty else cells):
                    raise UsageError(f"{shown}, line {rows.line_num + 1} has an empty cell.")
                yield rows.line_num + 1, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{shown} is not CSV in UTF-8: {error}") from error

"""The journal of an upload. It lies beside the table, so that a later run can resume.

The journal is JSON Lines, and is only appended to. It has five kinds of lines:

    plan     the files of one job, with its Idempotency-Key. The line is on the disk before the
             job is opened, so that a later run gets the same job for the same key.
    unread   a file of a plan that could not be read when it was to be sent, or was no longer equal
             to its copies. An empty picture is sent instead, if this run does not die before.
    partly   the next rows of a plan are in the table, with the table's length after them
    written  the same, and there are no more. Its counts are those of the whole plan, since releases
             that know no `partly` write all rows again.
    retry    the rows of some files are no longer in the table, and the files are planned again.
             Releases that know no `partly` have cut off the rows of unfinished plans, too.

The service knows the rest: the job of each key, and its missing parts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ..errors import UsageError
from .plan import Plan, PlannedFile, path_key, row_count

_VERSION = 1

#: The columns of the table that it begins: in release 0.1.0 they did not say which labels hold.
_COLUMNS = 2

#: A field of the `retry` lines of releases that know `partly`.
_KEEPS_PARTLY = "keeps_partly"

#: Of options that the journals of earlier releases do not have.
_DEFAULTS = {"raw_path": False, "min_score": 0, "embeddings": False}


@dataclass
class Past:
    """The state that earlier runs left in the journal."""

    plans: dict[int, Plan] = field(
        default_factory=dict
    )  #: Plans whose rows are not all written, by number.
    next_number: int = 0
    table_length: int = 0
    counts: Counter[str] = field(default_factory=Counter)  #: Of the rows in the table.
    paths: set[bytes] = field(default_factory=set)  #: The `path_key` of every file.
    columns: int = 1  #: `_COLUMNS` of the release that began the table.
    model_version: str | None = None  #: Of the rows that were written last; None if not noted.
    #: The journal ends with a `retry`, whose table may not be in place yet.
    ends_with_retry: bool = False


class Journal:
    """Threads may share a journal. Raises OSError if the disk fails."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Raises UsageError if the journal belongs to another upload or is in use."""
        self.past = Past()
        self._path = path
        self._lock = threading.Lock()
        # Without a buffer: what could not be written must not be written again by `close`.
        self._file = open(path, "a+b", buffering=0)
        try:
            _lock(self._file.fileno(), path)
            length = self._read(path, header)
            self._file.truncate(length)
            if length == 0:
                self.past.columns = _COLUMNS
                self._append({"journal": _VERSION, "columns": _COLUMNS, **header})
                _fsync_folder(path.parent)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def plan(self, plan: Plan) -> None:
        files = [each.to_list() for each in plan.files]
        self._append({"plan": plan.number, "key": plan.key, "files": files})

    def unread(self, plan: Plan, position: int, message: str) -> None:
        self._append({"unread": plan.number, "file": position, "message": message})

    def written(
        self,
        plan: Plan,
        table_length: int,
        counts: Mapping[str, int],
        model_version: str | None = None,
        *,
        are_all: bool = True,
    ) -> None:
        """Note that the table has the next rows of a plan. `are_all`: no rows are left."""
        kind, noted = ("written", plan.written + Counter(counts)) if are_all else ("partly", counts)
        entry = {kind: plan.number, "length": table_length, "counts": dict(noted)}
        self._append(entry | ({"model": model_version} if model_version else {}))
        plan.written.update(counts)

    def retry(self, paths: Sequence[str], table_length: int, counts: Mapping[str, int]) -> None:
        """Note that the table has no rows of `paths` any more, but `counts` in all."""
        entry = {"retry": list(paths), "length": table_length, "counts": dict(counts)}
        entry[_KEEPS_PARTLY] = True
        self._append(entry)
        _apply(entry, self.past)

    def paths_of_rows(self) -> list[str]:
        """The path of each row of the table."""
        plans: dict[int, list[str]] = {}  # unfinished ones
        written: Counter[int] = Counter()  # rows of each of them
        rows: list[tuple[int, str]] = []  # plan and path
        with open(self._path, "rb") as lines:
            for entry in map(json.loads, lines):
                if "plan" in entry:
                    plans[entry["plan"]] = [values[0] for values in entry["files"]]
                elif "partly" in entry:
                    number, count = entry["partly"], row_count(entry["counts"])
                    start = written[number]
                    rows += [(number, path) for path in plans[number][start : start + count]]
                    written[number] += count
                elif "written" in entry:
                    number = entry["written"]
                    rows += [(number, path) for path in plans.pop(number)[written[number] :]]
                elif "retry" in entry:
                    if _KEEPS_PARTLY not in entry:
                        rows = [row for row in rows if row[0] not in plans]
                        written.clear()
                    again = set(entry["retry"])
                    rows = [row for row in rows if row[1] not in again]
        return [path for _, path in rows]

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = memoryview(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        with self._lock:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())

    def _read(self, path: Path, header: Mapping[str, Any]) -> int:
        """Returns the end of the last complete line. A killed run may leave a torn line.

        Without a plan nothing was done. Then the end is 0, and the journal is begun again.
        """
        length, is_begun = 0, False
        first: dict[str, Any] = {}
        with open(path, "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    if not length:
                        first = _first(entry, path)
                        self.past.columns = first.get("columns", 1)
                    else:
                        if not is_begun:
                            _check(first, header, path)
                        is_begun = True
                        _apply(entry, self.past)
                except (ValueError, LookupError, TypeError) as error:
                    raise UsageError(f"{path} is damaged at byte {length}.") from error
                length += len(line)
        return length if is_begun else 0


def _apply(entry: Mapping[str, Any], past: Past) -> None:
    past.ends_with_retry = "retry" in entry
    if "plan" in entry:
        files = tuple(PlannedFile.from_list(values) for values in entry["files"])
        past.plans[entry["plan"]] = Plan(number=entry["plan"], key=entry["key"], files=files)
        past.next_number = entry["plan"] + 1
        past.paths.update(each.key for each in files)
    elif "unread" in entry:
        number, position, message = entry["unread"], entry["file"], entry["message"]
        # A part that an earlier run has sent may end the job while this one still reads its files.
        with suppress(KeyError):
            past.plans[number].unread[position] = message
    elif "partly" in entry or "written" in entry:
        past.counts.update(entry["counts"])
        if "partly" in entry:
            past.plans[entry["partly"]].written.update(entry["counts"])
        else:
            past.counts -= past.plans.pop(entry["written"]).written
        past.table_length = entry["length"]
        past.model_version = entry.get("model", past.model_version)
    elif "retry" in entry:
        past.table_length = entry["length"]
        past.counts = Counter(entry["counts"])
        if _KEEPS_PARTLY not in entry:
            for plan in past.plans.values():
                plan.written.clear()
        past.paths.difference_update(map(path_key, entry["retry"]))


def _first(entry: dict[str, Any], path: Path) -> dict[str, Any]:
    if entry.get("journal") != _VERSION:
        raise UsageError(f"{path} is not a journal that this version can read.")
    return entry


def _check(first: Mapping[str, Any], header: Mapping[str, Any], path: Path) -> None:
    for name, value in header.items():
        noted = first.get(name, _DEFAULTS.get(name))
        if noted != value:
            raise UsageError(
                f"{path} belongs to an upload with {name} {noted}, not {value}."
                " Use the same value, or another --output."
            )


def _lock(descriptor: int, path: Path) -> None:
    """Lock the file. The system releases the lock when this process ends."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(f"Another upload is using {path}.") from error


def _fsync_folder(folder: Path) -> None:
    """Put the name of a new file on the disk too."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

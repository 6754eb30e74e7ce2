"""What an upload notes down beside its table, so that it can go on after any end.

JSON Lines, appended. Three kinds of lines matter:

    plan     these files are one job, under this Idempotency-Key: on the disk before the job is
             opened, so that whoever goes on opens the same job, or finds it opened
    unread   a file of a plan that could not be read when its turn came
    written  the rows of a plan are in the table, which was so long after them

The service knows the rest: which job belongs to a key, and which of its parts are missing.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ..errors import UsageError
from .plan import Plan, PlannedFile

_VERSION = 1


@dataclass
class Past:
    """What a journal tells of the runs before."""

    plans: dict[int, Plan] = field(default_factory=dict)  #: Not written yet, in order.
    next_number: int = 0
    table_length: int = 0
    counts: Counter[str] = field(default_factory=Counter)  #: Of what is written.
    paths: set[bytes] = field(default_factory=set)  #: Keys of all files, see `path_key`.


class Journal:
    """Threads may share it. Raises OSError where the disk refuses."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Raises UsageError where it belongs to another upload, or one that is running."""
        self.past = Past()
        self._lock = threading.Lock()
        # Unbuffered: what could not be written must not be tried again at the end.
        self._file = open(path, "a+b", buffering=0)
        try:
            _lock_against_others(self._file.fileno(), path)
            length = self._read(path, dict(header))
            self._file.truncate(length)
            if length == 0:
                self._append({"journal": _VERSION, **header})
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

    def written(self, plan: Plan, table_length: int, counts: Mapping[str, int]) -> None:
        self._append({"written": plan.number, "length": table_length, "counts": dict(counts)})

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = memoryview(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        with self._lock:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())

    def _read(self, path: Path, header: dict[str, Any]) -> int:
        """Where its last whole line ends: what follows was cut short by the end of a run."""
        length = 0
        with open(path, "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    _take(entry, self.past) if length else _check(entry, header, path)
                except (ValueError, LookupError, TypeError) as error:
                    raise UsageError(f"{path} is damaged at byte {length}") from error
                length += len(line)
        return length


def _take(entry: dict[str, Any], past: Past) -> None:
    if "plan" in entry:
        files = tuple(PlannedFile.from_list(values) for values in entry["files"])
        plan = Plan(number=entry["plan"], key=entry["key"], files=files)
        past.plans[plan.number] = plan
        past.next_number = plan.number + 1
        past.paths.update(each.key for each in files)
    elif "unread" in entry:
        past.plans[entry["unread"]].unread[entry["file"]] = entry["message"]
    elif "written" in entry:
        del past.plans[entry["written"]]
        past.table_length = entry["length"]
        past.counts.update(entry["counts"])


def _check(first: dict[str, Any], header: dict[str, Any], path: Path) -> None:
    if first.pop("journal", None) != _VERSION:
        raise UsageError(f"{path} is not a journal that this version can read")
    for name, value in header.items():
        if first.get(name) != value:
            raise UsageError(
                f"{path} belongs to an upload with {name} {first.get(name)}, not {value}:"
                " give it the same, or another --output"
            )


def _lock_against_others(descriptor: int, path: Path) -> None:
    """Until this process ends, however it ends."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(f"another upload is writing {path}") from error


def _fsync_folder(folder: Path) -> None:
    """So that the new file's name is on the disk too."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Takes the rows of failed files out of a table, so that the files are classified again.

1. The other rows are written to a second file, which is put on the disk.
2. The journal notes the files that are planned again, and the length of the second file.
3. The second file takes the place of the table.

A run that dies before step 2 changes nothing. After it, the next run repeats step 3.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import UsageError
from .journal import Journal

#: States of rows that are taken out.
_AGAIN = ("failed", "cancelled")


class Retry:
    def __init__(self, journal: Journal, rows: Path) -> None:
        """`rows` is the file to which the table's rows are appended."""
        self._journal = journal
        self._rows = rows
        self._kept = rows.with_name(rows.name + ".retry")

    def finish(self) -> None:
        """Do the last step, if an earlier run has died before it."""
        if self._journal.past.ends_with_retry and self._kept.exists():
            os.replace(self._kept, self._rows)

    def begin(self) -> None:
        """Take the failed rows out of the table. Raises OSError, and UsageError if the table has
        been changed by another program."""
        again: list[str] = []
        counts: Counter[str] = Counter()
        paths = self._journal.paths_of_rows()
        with open(self._rows, encoding="utf-8", newline="") as rows, open(
            self._kept, "w", encoding="utf-8", newline=""
        ) as kept:
            is_csv = self._rows.suffix == ".csv"
            records = _records(rows, self._journal.past.table_length)
            columns = next(csv.reader([head := next(records, "")]), []) if is_csv else []
            if is_csv:
                kept.write(head)
            try:
                for path, record in zip(paths, records, strict=True):
                    state = _state(record, columns)
                    if state in _AGAIN:
                        again.append(path)
                    else:
                        counts[state] += 1
                        kept.write(record)
            except (ValueError, LookupError, csv.Error) as error:
                raise UsageError(
                    f"{self._rows} cannot be used with --retry-failed, because another program has"
                    " changed it."
                ) from error
            kept.flush()
            os.fsync(kept.fileno())
            length = os.fstat(kept.fileno()).st_size
        self._journal.retry(again, length, counts)
        self.finish()


def _records(rows: IO[str], length: int) -> Iterator[str]:
    """The records of a table as text. Those of CSV may have several lines."""
    record, left = "", length
    for line in rows:
        left -= len(line.encode())
        if left < 0:
            return  # An earlier run wrote this and did not note it.
        record += line
        if rows.name.endswith(".csv") and record.count('"') % 2:
            continue
        yield record
        record = ""


def _state(record: str, columns: list[str]) -> str:
    if not columns:
        state: str = json.loads(record)["state"]
        return state
    return next(csv.reader([record], strict=True))[columns.index("state")]

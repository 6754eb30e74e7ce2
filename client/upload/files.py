"""The files of an upload: its table, the rows that become the table, and its journal."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..tables.table import rows_path


class Files:
    def __init__(self, table: Path) -> None:
        self.table = table
        self.rows = rows_path(table)
        self.journal = table.with_name(table.name + ".journal")

    def check(self, *, resume: bool, overwrite: bool, retry_failed: bool) -> None:
        """Raises UsageError if there is a table that this run may not use, or none to continue."""
        if overwrite and resume:
            raise UsageError("Give --overwrite to start again, or --resume to continue; not both.")
        if retry_failed and not self.journal.exists():
            raise UsageError(
                f"--retry-failed needs a table of an earlier run; {self.rows} has none."
            )
        if overwrite:
            return
        if not resume and self._are_begun():
            begun = self.rows if self.rows.exists() else self.journal
            raise UsageError(
                f"{begun} exists. Give --resume to continue it, --overwrite to replace it,"
                " or another --output."
            )
        if resume and self.rows.exists() and not self.journal.exists():
            raise UsageError(
                f"{self.rows} cannot be resumed, because {self.journal.name} is missing."
            )

    def exist(self) -> bool:
        return any(each.exists() for each in (self.table, self.rows, self.journal))

    def remove(self) -> None:
        for path in (self.table, self.rows, self.journal):
            path.unlink(missing_ok=True)

    def _are_begun(self) -> bool:
        """Whether an earlier run has planned a picture, or another program has made the table.

        The journal has a line for the options of the run, and the table has one for its columns.
        """
        if not self.journal.exists():
            return self.rows.exists()
        return _has_lines(self.journal, 2) or (self.rows.exists() and _has_lines(self.rows, 2))


def _has_lines(path: Path, number: int) -> bool:
    with open(path, "rb") as file:
        return all(file.readline() for _ in range(number))

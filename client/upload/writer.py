"""Writes the rows of jobs into the table, and notes in the journal which rows it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..api.records import Item, ItemError
from ..tables.rows import Row, row
from ..tables.table import Table
from ..text import path_text
from .journal import Journal
from .plan import row_count
from .progress import Progress
from .result import failed, result_of
from .sender import Sender, SentPlan

#: Failures that the summary names.
FIRST_FAILURES = 5


class Failure(NamedTuple):
    path: str
    error: ItemError


class Writer:
    def __init__(
        self, table: Table, journal: Journal, sender: Sender, progress: Progress, *, raw_path: bool
    ) -> None:
        self._table = table
        self._journal = journal
        self._sender = sender
        self._progress = progress
        self._raw_path = raw_path
        self.counts: Counter[str] = Counter(journal.past.counts)  #: Of the rows in the table.
        self.failures: list[Failure] = []  #: The first ones of this run.
        begun = journal.past.model_version
        self._versions = {begun} if begun else set()  #: Model versions of the rows.

    def write(self, sent: SentPlan) -> None:
        """Write the rows whose results are read. Raises OSError if the disk fails."""
        plan = sent.plan
        are_all = len(sent.items) == len(plan.items)
        start = row_count(plan.written)
        # Equal files have the result of the first one, so results are needed in the same order.
        stop = len(plan.files) if are_all else plan.items[len(sent.items)]
        if start >= stop:  # A job whose pictures are all done may not have ended yet.
            return
        counts: Counter[str] = Counter()
        rows = list(self._rows(sent, range(start, stop), counts))
        self._table.append(rows)
        versions = [each["model_version"] for each in rows if each["model_version"]]
        self._report_other_models(versions)
        length, version = self._table.commit(), versions[-1] if versions else None
        self._journal.written(plan, length, counts, version, are_all=are_all)
        self.counts += counts
        items = sum(start <= position < stop for position in plan.items)
        self._sender.count(
            added=len(rows),
            duplicates=sum(not each.error for each in plan.files[start:stop]) - items,
            below_threshold=sum(each["below_threshold"] for each in rows),
        )

    def _report_other_models(self, versions: Iterable[str]) -> None:
        for version in dict.fromkeys(versions):
            if self._versions and version not in self._versions:
                self._progress.report(
                    f"The service has changed its model to {version}. The column model_version"
                    " names the version for each picture."
                )
            self._versions.add(version)

    def _rows(self, sent: SentPlan, positions: range, counts: Counter[str]) -> Iterator[Row]:
        for position in positions:
            file, result = sent.plan.files[position], self._result(sent, position)
            counts[result.state] += 1
            if result.error:
                counts[f"code:{result.error.code}"] += 1
                if len(self.failures) < FIRST_FAILURES:
                    self.failures.append(Failure(path_text(file.path), result.error))
                if file.error or position in sent.plan.unread:
                    self._progress.report(f"{path_text(file.path)}: {result.error.message}")
            path = path_text(file.path)
            leading = {"path": path, "raw_path": path} if self._raw_path else {"path": path}
            yield row(result, **leading)

    def _result(self, sent: SentPlan, position: int) -> Item:
        file, item = sent.plan.files[position], sent.plan.item_of[position]
        if item is None:
            assert file.error, "a file without an error has an item"
            return failed(*file.error)
        return result_of(sent.plan, position, sent.items[item])

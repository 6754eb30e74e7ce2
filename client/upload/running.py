"""The jobs of an upload whose rows are not all written, with their counts as read last."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..api.records import Counts, ItemError
from ..api.service import ImageClassifier
from ..text import path_text
from .plan import row_count
from .result import result_of
from .sender import Sender, SentPlan

#: How often the counts of the later jobs are read. The service works on all jobs at the same time.
_LATER_SECONDS = 2.0


class Running:
    def __init__(self, service: ImageClassifier, sender: Sender) -> None:
        self._service = service
        self._sender = sender
        self._jobs: dict[str, tuple[SentPlan, Counts]] = {}
        self._next_read = 0.0

    @property
    def succeeded(self) -> int:
        """Pictures without rows, at least: equal files are one picture of a job."""
        jobs = self._jobs.values()
        return sum(max(0, each.succeeded - _with_rows(sent, "succeeded")) for sent, each in jobs)

    @property
    def failed(self) -> int:
        jobs = self._jobs.values()
        return sum(max(0, each.failed - _with_rows(sent, "failed")) for sent, each in jobs)

    @property
    def earlier(self) -> int:
        """Pictures that earlier runs have classified."""
        return sum(sent.finished_before for sent, _ in self._jobs.values())

    def note(self, sent: SentPlan, counts: Counts) -> None:
        """These are the present counts of a job."""
        assert sent.job, "only a plan with a job is sent"
        self._jobs[sent.job.job_id] = sent, counts

    def written(self, sent: SentPlan) -> None:
        """All rows of the job are written."""
        if sent.job:
            self._jobs.pop(sent.job.job_id, None)

    def read_later_jobs(self) -> None:
        """Read the counts of the jobs behind the oldest one, unless that was done a moment ago."""
        now = time.monotonic()
        if now < self._next_read:
            return
        self._next_read = now + _LATER_SECONDS
        for sent in self._sender.unwritten[1:]:
            assert sent.job, "only a plan with a job is sent"
            job_id = sent.job.job_id
            if job_id not in self._jobs or not _all_are_done(self._jobs[job_id][1]):
                self.note(sent, self._service.job(job_id).status().counts)

    def failures(self) -> Iterator[tuple[str, ItemError]]:
        """The paths of failed pictures without rows, each with its error."""
        for job_id, (sent, counts) in self._jobs.items():
            for item in self._service.job(job_id).results() if counts.failed else ():
                position = sent.plan.items[item.index]
                error = result_of(sent.plan, position, item).error
                if error and position >= row_count(sent.plan.written):
                    yield path_text(sent.plan.files[position].path), error


def _with_rows(sent: SentPlan, state: str) -> int:
    """Pictures of a job that have a row, among those whose results are read.

    The rows of copies, and of files that were not sent, are no pictures of the job.
    """
    rows = row_count(sent.plan.written)
    return sum(
        item.state == state and position < rows
        for item, position in zip(sent.items, sent.plan.items)
    )


def _all_are_done(counts: Counts) -> bool:
    return counts.succeeded + counts.failed + counts.cancelled == counts.total

"""The pictures of running jobs that are done and have no rows yet."""

from __future__ import annotations

from collections import Counter
from typing import Any

from client.api.parts import OpenJob
from client.api.records import Counts, Item, ItemError
from client.upload.plan import Plan, PlannedFile
from client.upload.running import Running
from client.upload.sender import SentPlan

ERROR = ItemError("empty_file", "The file is empty.")
STATES = ["failed", "failed", "succeeded", "failed", "succeeded"]
ITEMS = [
    Item(index=k, name="", state=state, error=ERROR if state == "failed" else None)
    for k, state in enumerate(STATES)
]


def plan() -> Plan:
    """A file that was not sent, two equal ones that failed, and one for each further item."""
    unsent = PlannedFile(path="unsent.jpg", error=("unreadable_file", "Permission denied"))
    return Plan(0, (unsent, *(PlannedFile(path=f"{k}.jpg", digest=k) for k in "001234")))


class Service:
    """Its jobs have all results of `ITEMS`."""

    def job(self, job_id: str) -> Any:
        return self

    def results(self) -> list[Item]:
        return ITEMS


def running(read: int, written: Counter[str]) -> Running:
    """A job whose pictures are all done. `read` of its results are read."""
    sent = SentPlan(plan(), OpenJob(job_id="j", cached=frozenset(), raw=True), items=ITEMS[:read])
    sent.plan.written.update(written)
    service: Any = Service()
    sender: Any = None
    found = Running(service, sender)
    found.note(sent, Counts(total=5, queued=0, succeeded=2, failed=3))
    return found


def failures(found: Running) -> list[str]:
    return [path for path, error in found.failures() if error == ERROR]


def test_without_rows_all_pictures_are_counted_and_named() -> None:
    found = running(0, Counter())
    assert (found.failed, found.succeeded) == (3, 2)
    assert failures(found) == ["0.jpg", "1.jpg", "3.jpg"]


def test_pictures_with_rows_are_counted_and_named_by_their_rows() -> None:
    """The file that was not sent and the copy have rows that failed, and are no pictures."""
    found = running(1, Counter({"failed": 3, "code:unreadable_file": 1, "code:empty_file": 2}))
    assert (found.failed, found.succeeded) == (2, 2)
    assert failures(found) == ["1.jpg", "3.jpg"]
    found = running(3, Counter({"failed": 4, "succeeded": 1}))
    assert (found.failed, found.succeeded) == (1, 1)
    assert failures(found) == ["3.jpg"]


def test_results_that_are_read_and_have_no_rows_count() -> None:
    found = running(5, Counter({"failed": 3}))
    assert (found.failed, found.succeeded) == (2, 2)


def test_a_result_that_is_newer_than_the_counts_takes_nothing_away() -> None:
    found = running(3, Counter({"failed": 4, "succeeded": 1}))
    [(sent, _)] = found._jobs.values()
    found.note(sent, Counts(total=5, queued=4, succeeded=0, failed=1))
    assert (found.failed, found.succeeded) == (0, 0)

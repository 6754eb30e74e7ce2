"""One run of an upload: a folder of any size becomes a chain of jobs and a table.

    feeder thread    plans files, notes each plan in the journal and opens its job
    sending threads  read and send parts
    calling thread   waits for the oldest job, writes its rows and notes that they are written

All of this happens at the same time. At most a few thousand images are between planning and
writing. So memory does not grow with the folder, and a killed run leaves little to do again.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from ..api.job import Job
from ..api.records import Item, ItemError
from ..api.service import ImageClassifier
from ..errors import ImageClassifierError
from ..tables.rows import Row, row
from ..tables.table import Table
from ..text import count_text, path_text
from .journal import Journal
from .plan import Plan
from .planner import MAX_FILES, UNREADABLE, Planner
from .progress import Progress
from .running import Running
from .sender import Sender, SentPlan
from .window import Stopped, Window

#: Images that are planned and not written yet. It is large enough that workers never wait for
#: the next job.
_WINDOW = 3 * MAX_FILES

#: Jobs at the same time. A job of large pictures has few of them, and the service limits the number
#: of open jobs.
_MOST_JOBS = 48

#: The longest wait for requests that are under way when an upload ends early.
_END_SECONDS = 2.0

#: How often the progress of a job is read. Its end is known at once.
_PROGRESS_SECONDS = 1.0

#: The same with a limit on failures, so that the upload stops soon.
_FAILURES_SECONDS = 0.2

#: Failures that the summary names.
_FIRST_FAILURES = 5


class TooManyFailures(ImageClassifierError):
    """As many pictures have failed as `max_failures` says."""


class Failure(NamedTuple):
    path: str
    error: ItemError


class Upload:
    def __init__(
        self,
        service: ImageClassifier,
        planner: Planner,
        journal: Journal,
        table: Table,
        progress: Progress,
        *,
        top_k: int,
        min_score: float = 0,
        embeddings: bool = False,
        concurrency: int,
        max_failures: int | None = None,
        raw_path: bool = False,
    ) -> None:
        """`max_failures` is for this run. `raw_path` adds a column to the table."""
        self._service = service
        self._planner = planner
        self._journal = journal
        self._table = table
        self._progress = progress
        self._max_failures = max_failures
        self._progress_seconds = _PROGRESS_SECONDS if max_failures is None else _FAILURES_SECONDS
        self._raw_path = raw_path
        self._embeddings = embeddings
        self._sender = Sender(
            service.connection,
            planner.walk.folder,
            journal,
            progress,
            top_k=top_k,
            min_score=min_score,
            embeddings=embeddings,
            concurrency=concurrency,
        )
        self._window = Window(_WINDOW)
        self._sent: queue.Queue[SentPlan | BaseException | None] = queue.Queue()
        #: True for each plan as soon as it is planned, and False after the last one.
        self._planned: queue.Queue[bool] = queue.Queue()
        self.counts: Counter[str] = Counter(journal.past.counts)  #: Of the rows in the table.
        self._failed_before = _failures(self.counts)
        #: Pictures that earlier runs have classified, as far as `_show` counts them.
        self._earlier = self.counts["succeeded"] + self._failed_before
        self.failures: list[Failure] = []  #: The first ones of this run.
        self.is_done = False  #: Each file has a row.
        self.too_many: TooManyFailures | None = None  #: Also if the last picture reached the limit.
        self.not_written = 0  #: Pictures that are done and have no row yet, as far as is known.
        self._running = Running(service, self._sender)
        self.work = self._sender.counts  #: What this run has done.
        self.job_ids = self._sender.job_ids

    def run(self) -> None:
        """Raises Refused, NoAnswer, OSError from the folder or the disk, and TooManyFailures if
        pictures are left.

        The journal is complete after each of them, so that another run can resume.
        """
        feeder = threading.Thread(target=self._feed, name="feed", daemon=True)
        feeder.start()
        try:
            while (sent := self._sent.get()) is not None:
                if isinstance(sent, BaseException):
                    raise sent
                self._write(sent)
            self.is_done = True
        finally:
            self._service.connection.stopping.set()
            self._planner.stop.set()
            self._window.close()
            self._sender.close()
            if not isinstance(sys.exception(), KeyboardInterrupt):
                # Requests that are under way end in order, before the connection is closed.
                feeder.join(_END_SECONDS)
                self._sender.join(_END_SECONDS)

    def _feed(self) -> None:
        try:
            for plan, is_new in self._plans():
                self._planned.put(True)
                self._window.enter(_room(plan))
                if is_new:
                    self._journal.plan(plan)
                self._sent.put(self._sender.send(plan, is_new=is_new))
            self._planned.put(False)
            self._sent.put(None)
        except Stopped:
            pass
        except BaseException as error:  # the calling thread raises it
            self._planned.put(True)
            self._sent.put(error)

    def _plans(self) -> Iterator[tuple[Plan, bool]]:
        for plan in list(self._journal.past.plans.values()):
            yield plan, False
        self._journal.past.plans.clear()
        for plan in self._planner.plans():
            yield plan, True

    def _write(self, sent: SentPlan) -> None:
        """Wait for a job's end, and write its rows."""
        self._planned.get()
        counts: Counter[str] = Counter()
        items = self._results(sent)
        files = sent.plan.files
        duplicates = sum(not each.error for each in files) - len(items)
        rows = list(self._rows(sent.plan, items, counts))
        self._table.append(rows)
        versions = [item.model_version for item in items if item.model_version]
        self._journal.written(
            sent.plan, self._table.commit(), counts, versions[-1] if versions else None
        )
        self.counts += counts
        self._earlier += sent.finished_before
        self._running.written(sent)
        below = sum(each["below_threshold"] for each in rows)
        self._sender.count(added=len(files), duplicates=duplicates, below_threshold=below)
        self._sender.finish(sent)
        self._window.leave(_room(sent.plan))
        self._show()
        self._check_failures(are_written=True)

    def _results(self, sent: SentPlan) -> list[Item]:
        if sent.job is None:
            return []
        job = self._service.job(sent.job.job_id)
        self._await_end(sent, job)
        for part in sent.parts:
            part.result()
        return list(job.results(embeddings=self._embeddings))

    def _await_end(self, sent: SentPlan, job: Job) -> None:
        self._show()  # From now on the time is spent on pictures.
        while True:
            sent.check()
            status = job.status(wait=self._progress_seconds)
            self._running.note(sent, status.counts)
            if status.ended:
                sent.ended.set()
                return
            self._running.read_later_jobs()
            self._show()
            self._check_failures()

    def _rows(self, plan: Plan, items: list[Item], counts: Counter[str]) -> Iterator[Row]:
        for position, (file, item) in enumerate(zip(plan.files, plan.item_of, strict=True)):
            if item is None:
                assert file.error, "a file without an error has an item"
                result = _failed(*file.error)
            elif message := plan.unread.get(plan.items[item]):
                result = _failed(UNREADABLE, message)
            else:
                result = items[item]
            counts[result.state] += 1
            if result.error:
                counts[f"code:{result.error.code}"] += 1
                if len(self.failures) < _FIRST_FAILURES:
                    self.failures.append(Failure(path_text(file.path), result.error))
                if file.error or position in plan.unread:
                    self._progress.report(f"{path_text(file.path)}: {result.error.message}")
            path = path_text(file.path)
            leading = {"path": path, "raw_path": path} if self._raw_path else {"path": path}
            yield row(result, **leading)

    def _show(self) -> None:
        """Show the rows in the table, and the present counts of the jobs without rows."""
        running = self._running
        self.not_written = running.succeeded + running.failed
        failed = _failures(self.counts)
        self._progress.show(
            done=self.counts["succeeded"] + failed + self.not_written,
            failed=failed + running.failed,
            earlier=self._earlier + running.earlier,
        )

    def _check_failures(self, *, are_written: bool = False) -> None:
        """Raises TooManyFailures. `are_written`: the rows of the oldest job."""
        new = _failures(self.counts) + self._running.failed - self._failed_before
        if self._max_failures is None or new < self._max_failures:
            return
        self.too_many = TooManyFailures(
            f"{count_text(new, 'picture')} failed, and --max-failures is {self._max_failures}"
        )
        # The next files are planned soon, or there are none and the run ends. A watch has no end.
        if not are_written or self._planner.watch or self._planned.get():
            self._name_failures()
            raise self.too_many

    def _name_failures(self) -> None:
        """Name the first failed pictures that have no rows, unless the service is away."""
        with suppress(ImageClassifierError):
            for path, error in islice(self._running.failures(), _FIRST_FAILURES):
                self.failures.append(Failure(path, error))
        del self.failures[_FIRST_FAILURES:]


def _room(plan: Plan) -> int:
    """What a plan takes of the window."""
    return max(len(plan.files), _WINDOW // _MOST_JOBS)


def _failures(counts: Counter[str]) -> int:
    return counts["failed"] + counts["cancelled"]


def _failed(code: str, message: str) -> Item:
    return Item(index=0, name="", state="failed", error=ItemError(code, message))

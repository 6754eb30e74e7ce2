"""One run of an upload: a folder of any size becomes a chain of jobs and a table.

    feeder thread    plans files, notes each plan in the journal and opens its job
    sending threads  read and send parts
    calling thread   follows the oldest job, writes its rows as its pictures are done, and notes
                     that they are written

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
from itertools import islice, takewhile

from ..api.parts import PART_SIZE
from ..api.results import some_results
from ..api.job import Job
from ..api.records import Item
from ..api.service import ImageClassifier
from ..errors import ImageClassifierError
from ..tables.table import Table
from ..text import count_text
from .journal import Journal
from .plan import Plan
from .planner import MAX_FILES, Planner
from .progress import Progress
from .running import Running
from .sender import Sender, SentPlan
from .window import Stopped, Window
from .writer import FIRST_FAILURES, Failure, Writer

#: Images that are planned and not written yet. It is large enough that workers never wait for
#: the next job.
_WINDOW = 3 * MAX_FILES

#: Jobs at the same time. A job of large pictures has few of them, and the service limits the number
#: of open jobs.
_MOST_JOBS = 48

#: The longest wait for requests that are under way when an upload ends early.
_END_SECONDS = 2.0

#: How often the results of a job are read. Its end is known at once.
_PROGRESS_SECONDS = 0.2


class TooManyFailures(ImageClassifierError):
    """As many pictures have failed as `max_failures` says."""


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
        self._progress = progress
        self._max_failures = max_failures
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
        self._writer = Writer(table, journal, self._sender, progress, raw_path=raw_path)
        self.failures = self._writer.failures
        self.counts = self._writer.counts
        self._failed_before = _failures(self.counts)
        #: Pictures that earlier runs have classified, as far as `_show` counts them.
        self._earlier = self.counts["succeeded"] + self._failed_before
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
        """Write the rows of a job as its pictures are done, until it ends."""
        self._planned.get()
        if sent.job:
            self._await_end(sent, self._service.job(sent.job.job_id))
        self._writer.write(sent)
        self._earlier += sent.finished_before
        self._running.written(sent)
        self._sender.finish(sent)
        self._window.leave(_room(sent.plan))
        self._show()
        self._check_failures(are_written=True)

    def _await_end(self, sent: SentPlan, job: Job) -> None:
        self._show()  # From now on the time is spent on pictures.
        while True:
            sent.check()
            status = job.status(wait=_PROGRESS_SECONDS)
            self._running.note(sent, status.counts)
            if status.ended:
                sent.ended.set()
                for part in sent.parts:
                    part.result()
                self._read_results(sent, job)
                return
            self._read_results(sent, job, status.counts.total - status.counts.queued)
            self._writer.write(sent)
            self._running.read_later_jobs()
            self._show()
            self._check_failures()

    def _read_results(self, sent: SentPlan, job: Job, done: int | None = None) -> None:
        """Read the results up to the first that is missing. Only `done` are there, if given."""
        connection = self._service.connection
        total = len(sent.plan.items)
        stop = total if done is None else min(done, total)
        # Those behind the first that is missing are read in vain, so a few are read at first.
        most = total if done is None else PART_SIZE
        while (left := min(stop - len(sent.items), most)) > 0:
            read = connection.run(
                some_results(connection, job.id, len(sent.items), left, embeddings=self._embeddings)
            )
            most *= 2
            finished = read if done is None else list(takewhile(_is_done, read))
            sent.items += finished
            if len(finished) < len(read):
                return

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
            for path, error in islice(self._running.failures(), FIRST_FAILURES):
                self.failures.append(Failure(path, error))
        del self.failures[FIRST_FAILURES:]


def _room(plan: Plan) -> int:
    """What a plan takes of the window."""
    return max(len(plan.files), _WINDOW // _MOST_JOBS)


def _failures(counts: Counter[str]) -> int:
    return counts["failed"] + counts["cancelled"]


def _is_done(item: Item) -> bool:
    return item.state != "queued"

"""A folder of any size, as a chain of jobs: found, hashed, sent, classified and written at once.

    feeder thread    walks, hashes (its own threads), notes a plan down, opens its job
    sending threads  read and send parts
    calling thread   waits for the oldest job, writes its rows, notes that they are written

Between feeder and writer are a few thousand images at most, so memory does not grow with the
folder, and what an end of this process leaves behind is little.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from ..errors import ImageClassifierError, JobCancelled, JobClosed, PartConflict
from ..api.job import Job
from .journal import Journal
from ..api.names import shown
from ..api.parts import Opened, Picture, missing_parts, open_job, part_range, put_part
from .plan import Plan, PlannedFile
from .planner import MAX_FILES, UNREADABLE, Planner, reason
from .progress import Progress
from ..api.records import Item, ItemError
from ..tables.rows import Row, row
from ..api.service import ImageClassifier
from ..tables.tables import Table

#: Images that are planned and not yet written. What classifies must never wait for the next job.
_WINDOW = 3 * MAX_FILES

#: How often the progress of a job is asked for; its end is told at once.
_LOOK_SECONDS = 1.0


class TooManyFailures(ImageClassifierError):
    """More pictures failed than were allowed."""


class _Stopped(Exception):
    """Another thread has ended the upload."""


@dataclass
class _Sent:
    """A plan on its way: its job, and its parts as they are sent."""

    plan: Plan
    opened: Opened | None  #: None where no file of it can be read.
    parts: list[Future[None]] = field(default_factory=list)
    #: Its images are known to the service, or will never be.
    ended: threading.Event = field(default_factory=threading.Event)


class Upload:
    """One run. Raises Refused, NoAnswer, TooManyFailures, and OSError of folder and disk; all is
    noted down then, and another run goes on."""

    def __init__(
        self,
        service: ImageClassifier,
        planner: Planner,
        journal: Journal,
        table: Table,
        progress: Progress,
        *,
        top_k: int,
        concurrency: int,
        max_failures: int | None = None,
    ) -> None:
        self._service = service
        self._connection = service.connection
        self._planner = planner
        self._journal = journal
        self._table = table
        self._progress = progress
        self._top_k = top_k
        self._max_failures = max_failures
        self._senders = ThreadPoolExecutor(concurrency, thread_name_prefix="send")
        self._window = _Window(_WINDOW)
        self._sent: queue.Queue[_Sent | BaseException | None] = queue.Queue()
        #: By digest, of jobs that have not ended.
        self._on_its_way: dict[str, _Sent] = {}
        self._stopping = service.connection.stopping
        self.counts: Counter[str] = Counter(journal.past.counts)  #: Of the table.
        # Of this run. Only it knows what it sends: the journal of a killed one cannot tell.
        self.job_ids: list[str] = []
        self.done: Counter[str] = Counter()
        self._noting = threading.Lock()

    def run(self) -> None:
        feeder = threading.Thread(target=self._feed, name="feed", daemon=True)
        feeder.start()
        try:
            while (sent := self._sent.get()) is not None:
                if isinstance(sent, BaseException):
                    raise sent
                self._finish(sent)
        finally:
            self._stopping.set()
            self._planner.enough.set()
            self._window.close()
            self._senders.shutdown(wait=False, cancel_futures=True)

    def _feed(self) -> None:
        try:
            for plan, is_new in self._plans():
                self._window.take(len(plan.files))
                if is_new:
                    self._journal.plan(plan)
                self._sent.put(self._send(plan, is_new))
            self._sent.put(None)
        except _Stopped:
            pass
        except BaseException as error:  # whatever it is, the calling thread must hear of it
            self._sent.put(error)

    def _plans(self) -> Iterator[tuple[Plan, bool]]:
        for plan in list(self._journal.past.plans.values()):
            yield plan, False
        self._journal.past.plans.clear()
        for plan in self._planner.plans():
            yield plan, True

    def _send(self, plan: Plan, is_new: bool) -> _Sent:
        if not plan.items:
            return _Sent(plan, None)
        digests = [plan.files[position].digest for position in plan.items]
        # The same key opens the same job: whoever opens it a second time only learns of it.
        opened = open_job(
            self._connection,
            digests,
            top_k=self._top_k,
            lane="bulk",
            idempotency_key=plan.key,
        )
        self.job_ids.append(opened.job_id)
        sent = _Sent(plan, opened)
        twins = self._twins(digests)
        for digest in digests:
            self._on_its_way[digest] = sent
        for number in missing_parts(self._connection, opened, len(digests), is_new=is_new):
            sent.parts.append(self._senders.submit(self._send_part, sent, number, twins))
        return sent

    def _twins(self, digests: list[str]) -> Mapping[int, _Sent]:
        """Items whose bytes are being classified already, for an earlier job."""
        earlier = {item: self._on_its_way.get(digest) for item, digest in enumerate(digests)}
        return {item: sent for item, sent in earlier.items() if sent and not sent.ended.is_set()}

    def _send_part(self, sent: _Sent, number: int, twins: Mapping[int, _Sent]) -> None:
        assert sent.opened
        items = part_range(number, len(sent.plan.items))
        counts: Counter[str] = Counter()
        pictures = [self._picture(sent.plan, sent.plan.items[item], counts) for item in items]
        here = {item: twins[item] for item in items if item in twins}
        for earlier in here.values():
            # Once it is classified, the service answers for the second one too.
            self._await(earlier.ended)
        try:
            by_digest = sent.opened.known | here.keys()
            read = put_part(self._connection, sent.opened, number, pictures, by_digest=by_digest)
        except (JobClosed, JobCancelled):
            return  # cancelled by somebody; its end will tell
        except PartConflict:
            # A run before this one sent it and died, and a file has changed since: it is there.
            return
        self._note(counts + Counter(uploaded=len(read), known=len(items) - len(read)))

    def _note(self, counts: Counter[str]) -> None:
        with self._noting:
            self.done += counts

    def _picture(self, plan: Plan, position: int, counts: Counter[str]) -> Picture:
        file = plan.files[position]
        return Picture(
            name=shown(file.path),
            digest=file.digest,
            read=partial(self._read, plan, position, counts),
        )

    def _read(self, plan: Plan, position: int, counts: Counter[str]) -> bytes:
        """The bytes as they are now: the service judges and remembers what it is sent."""
        if self._stopping.is_set():
            raise _Stopped
        file = plan.files[position]
        try:
            with open(os.path.join(self._planner.walk.folder, file.path), "rb") as opened:
                data = opened.read(self._planner.max_request_bytes)
                now = os.fstat(opened.fileno())
        except OSError as error:
            # The part must have as many items as it was opened with: this one is sent empty, and
            # its row tells what happened.
            plan.unread[position] = reason(error)
            self._journal.unread(plan, position, plan.unread[position])
            return b""
        counts["bytes"] += len(data)
        if (now.st_size, now.st_mtime_ns) != (file.size, file.modified_ns):
            counts["changed"] += 1
            self._progress.tell(f"{shown(file.path)}: changed while it was uploaded")
        return data

    def _finish(self, sent: _Sent) -> None:
        """Write a job's rows once it has ended."""
        counts: Counter[str] = Counter()
        items: list[Item] = []
        if sent.opened:
            job = self._service.job(sent.opened.job_id)
            self._until_ended(sent, job)
            for part in sent.parts:
                part.result()
            items = list(job.results())
        files = sent.plan.files
        duplicates = sum(not each.error for each in files) - len(items)
        self._table.append(list(self._rows(sent.plan, items, counts)))
        self._journal.written(sent.plan, self._table.commit(), counts)
        self.counts += counts
        self._note(Counter(added=len(files), duplicates=duplicates))
        self._forget(sent)
        self._show()

    def _until_ended(self, sent: _Sent, job: Job) -> None:
        while True:
            for part in sent.parts:
                if part.done():
                    part.result()  # raises what has kept it from being sent
            status = job.status(wait=_LOOK_SECONDS)
            if status.ended:
                sent.ended.set()
                return
            done, failed = status.counts.succeeded, status.counts.failed
            self._show(succeeded=done, failed=failed)

    def _forget(self, sent: _Sent) -> None:
        sent.ended.set()
        for file in sent.plan.files:
            if self._on_its_way.get(file.digest) is sent:
                del self._on_its_way[file.digest]
        self._window.give(len(sent.plan.files))

    def _rows(self, plan: Plan, items: list[Item], counts: Counter[str]) -> Iterator[Row]:
        for position, (file, item) in enumerate(zip(plan.files, plan.item_of, strict=True)):
            answer = _unsent(file) if item is None else items[item]
            if item is not None and (message := plan.unread.get(plan.items[item])):
                answer = _failed(UNREADABLE, message)
            counts[answer.state] += 1
            if answer.error:
                counts[f"code:{answer.error.code}"] += 1
            if answer.error and (file.error or position in plan.unread):
                self._progress.tell(f"{shown(file.path)}: {answer.error.message}")
            yield row(answer, path=shown(file.path))

    def _show(self, *, succeeded: int = 0, failed: int = 0) -> None:
        """Show what is done, with what the oldest job has done so far."""
        failures = self.counts["failed"] + self.counts["cancelled"] + failed
        self._progress.show(done=self.counts["succeeded"] + succeeded + failures, failed=failures)
        if self._max_failures is not None and failures > self._max_failures:
            raise TooManyFailures(f"{failures} pictures failed; {self._max_failures} may")

    def _await(self, event: threading.Event) -> None:
        while not event.wait(0.2):
            if self._stopping.is_set():
                raise _Stopped


class _Window:
    """Room for so many images between planning and writing."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._closed = False
        self._changed = threading.Condition()

    def take(self, images: int) -> None:
        """Wait for room. Raises _Stopped once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= images or self._closed)
            if self._closed:
                raise _Stopped
            self._free -= images

    def give(self, images: int) -> None:
        with self._changed:
            self._free += images
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _unsent(file: PlannedFile) -> Item:
    assert file.error, "a file that can be read is an item"
    return _failed(*file.error)


def _failed(code: str, message: str) -> Item:
    return Item(index=0, name="", state="failed", error=ItemError(code, message))

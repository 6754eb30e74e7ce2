"""Opens the jobs of plans and sends their parts."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from io import BufferedReader

from ..api.transport.connection import Connection
from ..api.job import Job
from ..api.parts import (
    OpenJob,
    Picture,
    missing_parts,
    open_job,
    part_count,
    part_range,
    put_part,
)
from ..api.records import Item
from ..errors import JobCancelled, JobClosed, PartConflict
from ..regular_file import RegularFile
from ..text import path_text
from .journal import Journal
from .plan import Plan, PlannedFile, row_count
from .planner import MAX_REQUEST_BYTES, reason
from .progress import Progress
from .window import Stopped

#: Why a file is not sent that is no longer equal to its copies.
_CHANGED = "The file changed while it was uploaded."

#: How often a waiting thread checks whether the upload ends.
_STOP_SECONDS = 0.2


@dataclass
class SentPlan:
    """A plan with its job and with its parts as they are sent."""

    plan: Plan
    job: OpenJob | None  #: None if no file of the plan can be sent.
    parts: list[Future[None]] = field(default_factory=list)
    #: The results of the job up to the first that is missing, as far as they are read.
    items: list[Item] = field(default_factory=list)
    #: Pictures without rows that the service had classified when this run opened the job again.
    finished_before: int = 0
    #: Set when the job has ended: the service has cached its results, or never will.
    ended: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise the exception of the first part that could not be sent, if there is one."""
        for part in self.parts:
            if part.done():
                part.result()


class Sender:
    def __init__(
        self,
        connection: Connection,
        folder: str,
        journal: Journal,
        progress: Progress,
        *,
        top_k: int,
        min_score: float,
        embeddings: bool,
        concurrency: int,
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._journal = journal
        self._progress = progress
        self._top_k = top_k
        self._min_score = min_score
        self._embeddings = embeddings
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="send")
        self._stopping = connection.stopping
        #: The unfinished job that holds each digest.
        self._unfinished: dict[str, SentPlan] = {}
        self._sent: list[SentPlan] = []  #: Whose rows are not all written.
        self._counting = threading.Lock()
        self.counts: Counter[str] = Counter()  #: What this run has sent.
        self.job_ids: list[str] = []

    def send(self, plan: Plan, *, is_new: bool) -> SentPlan:
        """Open the plan's job, and send its missing parts in threads.

        `is_new` says that no earlier run may have sent some of them. Raises Refused and NoAnswer.
        """
        if not plan.items:
            return SentPlan(plan, None)
        digests = [plan.files[position].digest for position in plan.items]
        # An earlier run may have opened the job. The same key returns the same job.
        job = self._connection.run(
            open_job(
                self._connection,
                digests,
                top_k=self._top_k,
                min_score=self._min_score,
                embeddings=self._embeddings,
                lane="bulk",
                idempotency_key=plan.key,
            )
        )
        self.job_ids.append(job.job_id)
        sent = SentPlan(plan, job)
        duplicates = self._duplicates(digests)
        self._unfinished |= dict.fromkeys(digests, sent)
        if is_new:
            parts: Sequence[int] = range(part_count(len(digests)))
        else:
            counts = Job(self._connection, job.job_id).status().counts
            done = counts.succeeded + counts.failed + counts.cancelled
            # Equal files have one item, and each of them has a row.
            finished = done * len(plan.files) // len(digests)
            sent.finished_before = max(0, finished - row_count(plan.written))
            parts = self._connection.run(missing_parts(self._connection, job))
        self._sent.append(sent)
        for number in parts:
            sent.parts.append(self._threads.submit(self._send_part, sent, number, duplicates))
        return sent

    @property
    def unwritten(self) -> list[SentPlan]:
        """The plans with a job whose rows are not all written, the oldest first."""
        return list(self._sent)

    def finish(self, sent: SentPlan) -> None:
        """The job has ended and its rows are written."""
        sent.ended.set()
        self._sent = [each for each in self._sent if each is not sent]
        for file in sent.plan.files:
            if self._unfinished.get(file.digest) is sent:
                del self._unfinished[file.digest]

    def count(self, **counts: int) -> None:
        with self._counting:
            self.counts.update(counts)

    def close(self) -> None:
        """Cancel the parts that have not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def join(self, seconds: float) -> None:
        """Wait for the parts that are being sent, at most so long."""
        wait([part for sent in self._sent for part in sent.parts], timeout=seconds)

    def _duplicates(self, digests: list[str]) -> Mapping[int, SentPlan]:
        """Items whose bytes an earlier, unfinished job already holds."""
        earlier = {item: self._unfinished.get(digest) for item, digest in enumerate(digests)}
        return {item: sent for item, sent in earlier.items() if sent and not sent.ended.is_set()}

    def _send_part(self, sent: SentPlan, number: int, duplicates: Mapping[int, SentPlan]) -> None:
        assert sent.job
        items = part_range(number, len(sent.plan.items))
        counts: Counter[str] = Counter()
        pictures = [self._picture(sent.plan, sent.plan.copies[item], counts) for item in items]
        in_part = {item: duplicates[item] for item in items if item in duplicates}
        for earlier in in_part.values():
            # When the earlier job ends, the service has the result in its cache.
            self._await(earlier.ended)
        try:
            by_digest = sent.job.cached | in_part.keys()
            with_bytes = self._connection.run(
                put_part(self._connection, sent.job, number, pictures, by_digest=by_digest)
            )
        except (JobClosed, JobCancelled):
            return  # the job was cancelled; its results say so
        except PartConflict:
            # An earlier run sent this part before it died, and a file has changed since.
            return
        known = len(items) - len(with_bytes)
        # An unread file has an item without bytes.
        uploaded = sum(sent.plan.copies[item][0] not in sent.plan.unread for item in with_bytes)
        self.count(uploaded=uploaded, known=known, **counts)

    def _picture(self, plan: Plan, copies: Sequence[int], counts: Counter[str]) -> Picture:
        file = plan.files[copies[0]]
        return Picture(
            name=path_text(file.path),
            digest=file.digest,
            size=file.size,
            content=partial(self._read, plan, copies, counts),
        )

    def _read(self, plan: Plan, copies: Sequence[int], counts: Counter[str]) -> bytes:
        data = self._content(plan, copies, counts)
        counts["bytes"] += len(data)
        return data

    def _content(self, plan: Plan, copies: Sequence[int], counts: Counter[str]) -> bytes:
        """The present bytes of a file, or of files that were equal when they were hashed.

        A single file may have changed: the service hashes the bytes itself. Copies have one result.
        So the first of them that is as it was is sent, or else what all of them have now.
        """
        unread: dict[int, str] = {}
        new: set[str] = set()
        for position in copies:
            file = plan.files[position]
            try:
                data = self._present(file, counts)
            except OSError as error:
                unread[position] = reason(error)
                continue
            if len(copies) == 1 or (digest := hashlib.sha256(data).hexdigest()) == file.digest:
                return data
            new.add(digest)
        if len(new) == 1 and not unread:
            return data
        # The part must keep its number of items. This one is sent empty, and its rows get the
        # reasons.
        for position in copies:
            message = plan.unread[position] = unread.get(position, _CHANGED)
            self._journal.unread(plan, position, message)
        return b""

    def _present(self, file: PlannedFile, counts: Counter[str]) -> bytes:
        if self._stopping.is_set():
            raise Stopped
        with BufferedReader(RegularFile(os.path.join(self._folder, file.path))) as opened:
            data = opened.read(MAX_REQUEST_BYTES)
            now = os.fstat(opened.fileno())
        if (now.st_size, now.st_mtime_ns) != (file.size, file.modified_ns):
            counts["changed"] += 1
            self._progress.report(f"{path_text(file.path)}: changed while it was uploaded")
        return data

    def _await(self, ended: threading.Event) -> None:
        while not ended.wait(_STOP_SECONDS):
            if self._stopping.is_set():
                raise Stopped

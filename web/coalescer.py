"""Submissions that leave as one message.

The workers' batching rule on this side of the queue. At most a few messages of this process are
unfinished at a time; parts that are submitted meanwhile gather and leave together. Idle, a part is
sent at once. Loaded, there are far fewer messages, and a message costs the worker's main process
as much CPU as a tenth of a picture.

Only delivery is shared: each part keeps its record, its deadline and its commit. There is no
thread: a request whose turn it is sends for the others. And nothing hangs on a notification: a
message counts as unfinished for `patience_seconds` at most.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from shared.jobs import PART_SIZE, PartRef


class _Message:
    """Parts under way; finished when each has been committed."""

    def __init__(self, refs: Sequence[PartRef]) -> None:
        self.left = len(refs)
        self.sent_at = time.monotonic()


class _Entry:
    """A request that waits for its part to be sent."""

    def __init__(self, ref: PartRef) -> None:
        self.ref = ref
        self.woken = threading.Event()  # it is this entry's turn to send, or it has been sent
        self.sent = threading.Event()
        self.error: Exception | None = None


class Coalescer:
    def __init__(
        self,
        send: Callable[[Sequence[PartRef]], None],
        *,
        max_unfinished: int,
        patience_seconds: float = 2.0,
    ) -> None:
        self._send = send
        self._max_unfinished = max_unfinished
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._gathering: deque[_Entry] = deque()
        self._under_way: list[_Message] = []
        self._message_of: dict[str, _Message] = {}  # by job id

    def submit(self, ref: PartRef) -> None:
        """Returns once the part has been sent. Raises what sending raised."""
        entry = _Entry(ref)
        with self._lock:
            self._gathering.append(entry)
            may_send = self._unfinished() < self._max_unfinished
        if not may_send:
            entry.woken.wait(self._patience)
        entries = self._take(entry)
        if entries:
            self._send_for(entries)
        else:
            entry.sent.wait()  # another request has it in hand, and always tells
        if entry.error:
            raise entry.error

    def on_commit(self, job_id: str) -> None:
        """A part of a job was committed: its message may be finished, and the next may leave."""
        with self._lock:
            message = self._message_of.pop(job_id, None)
            if message is None:
                return
            message.left -= 1
            if message.left == 0 and message in self._under_way:
                self._under_way.remove(message)
            self._wake_next()

    def _take(self, entry: _Entry) -> list[_Entry]:
        """What leaves with `entry`, if it is still here; counts as under way from now."""
        with self._lock:
            if entry not in self._gathering:
                return []
            taken = [self._gathering.popleft()]
            images = taken[0].ref.images
            while self._gathering and images + self._gathering[0].ref.images <= PART_SIZE:
                taken.append(self._gathering.popleft())
                images += taken[-1].ref.images
            if entry not in taken:  # ran out of patience in a long queue: it goes first
                self._gathering.remove(entry)
                self._gathering.extendleft(reversed(taken))
                taken = [entry]
            message = _Message([each.ref for each in taken])
            self._under_way.append(message)
            self._message_of.update({each.ref.job_id: message for each in taken})
            return taken

    def _send_for(self, entries: Sequence[_Entry]) -> None:
        error: Exception | None = None
        try:
            self._send([entry.ref for entry in entries])
        except Exception as raised:  # each waiting request raises it again
            error = raised
        for entry in entries:
            entry.error = error
            entry.sent.set()
            entry.woken.set()
        with self._lock:
            self._wake_next()

    def _wake_next(self) -> None:
        if self._gathering and self._unfinished() < self._max_unfinished:
            self._gathering[0].woken.set()

    def _unfinished(self) -> int:
        oldest = time.monotonic() - self._patience
        self._under_way = [message for message in self._under_way if message.sent_at > oldest]
        return len(self._under_way)

"""Makes plans of the files that a walk finds: hashed ahead, small ones first.

A job is opened with the digests of its images, so they must be hashed before it is: the whole
folder at once would mean to read it all before the first picture is classified. So an upload is a
chain of jobs. The first is small, so that work starts at once; they grow, so that their number
stays small.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ..api.parts import PART_SIZE
from .plan import Plan, PlannedFile, path_key
from .walk import Left, Walk

#: Files of the first job, and how the next ones grow.
_FIRST_FILES, _GROWTH = 4 * PART_SIZE, 4
MAX_FILES = 64 * PART_SIZE

#: Bytes of a job: read twice, for the digest and for the upload, and the second time from memory.
_MAX_BYTES = 2**28

#: Bytes of pictures in one request; the service allows 64 MiB unless it is told otherwise.
MAX_REQUEST_BYTES = 48 * 2**20

#: A file that changes while it is read is read again.
_READS = 3
_PAUSE_SECONDS = 0.1

#: Between two looks at a folder, and how long a file must have been left alone.
_WATCH_SECONDS = 2.0

#: Codes of what never reaches the service.
UNREADABLE = "unreadable_file"
_TOO_LARGE = "image_too_large"


@dataclass(kw_only=True)
class Planner:
    walk: Walk
    left: Left
    threads: int
    number: int = 0  #: Of the next plan.
    #: Keys of files that have been planned. Kept up only where the folder is read again.
    planned: set[bytes] = field(default_factory=set)
    watch: bool = False
    max_request_bytes: int = MAX_REQUEST_BYTES
    #: Set to end watching, after what was found.
    enough: threading.Event = field(default_factory=threading.Event)

    def plans(self) -> Iterator[Plan]:
        """Raises OSError where the folder cannot be read."""
        limit = _FIRST_FILES
        while True:
            group = _Group(self.max_request_bytes)
            for each in self._hashed():
                if group.files and not group.has_room(each, limit):
                    yield self._plan(group)
                    group = _Group(self.max_request_bytes)
                    limit = min(_GROWTH * limit, MAX_FILES)
                group.add(each)
            if group.files:
                yield self._plan(group)
            if not self.watch or self.enough.wait(_WATCH_SECONDS):
                return

    def _plan(self, group: _Group) -> Plan:
        self.number += 1
        return Plan(self.number - 1, tuple(group.files))

    def _hashed(self) -> Iterator[PlannedFile]:
        """In the order of the walk, a few files ahead."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="hash") as threads:
            ahead: deque[Future[PlannedFile]] = deque()
            for path in self._new_paths():
                ahead.append(threads.submit(self._hash, path))
                if len(ahead) > 8 * self.threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _new_paths(self) -> Iterator[str]:
        for path in self.walk.files(self.left):
            if self.enough.is_set():
                return
            if self.planned or self.watch:
                key = path_key(path)
                if key in self.planned or self.watch and not self._settled(path):
                    continue
                if self.watch:
                    self.planned.add(key)
            yield path

    def _settled(self, path: str) -> bool:
        """False for a file that is perhaps still being written."""
        try:
            modified = os.stat(os.path.join(self.walk.folder, path)).st_mtime
        except OSError:
            return True
        return not 0 <= time.time() - modified < _WATCH_SECONDS

    def _hash(self, path: str) -> PlannedFile:
        whole = os.path.join(self.walk.folder, path)
        try:
            with open(whole, "rb", buffering=0) as file:
                for _ in range(_READS):
                    before = os.fstat(file.fileno())
                    if before.st_size > self.max_request_bytes:
                        message = (
                            f"{before.st_size} bytes; a request carries {self.max_request_bytes}"
                        )
                        return PlannedFile(path=path, error=(_TOO_LARGE, message))
                    file.seek(0)
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                    after = os.fstat(file.fileno())
                    if same_file(before, after):
                        break
                    time.sleep(_PAUSE_SECONDS)
        except OSError as error:
            return PlannedFile(path=path, error=(UNREADABLE, reason(error)))
        return PlannedFile(
            path=path, digest=digest, size=after.st_size, modified_ns=after.st_mtime_ns
        )


class _Group:
    """Files that are becoming a plan."""

    def __init__(self, max_request_bytes: int) -> None:
        self.files: list[PlannedFile] = []
        self._max_request_bytes = max_request_bytes
        self._digests: set[str] = set()
        self._bytes = 0
        self._part_bytes = 0

    def has_room(self, file: PlannedFile, limit: int) -> bool:
        """Every part but a job's last has the same number of items: where their bytes are more
        than a request carries, the job ends early instead."""
        if len(self.files) >= limit or self._bytes + file.size > _MAX_BYTES:
            return False
        part_bytes = self._part_bytes if len(self._digests) % PART_SIZE else 0
        return part_bytes + file.size <= self._max_request_bytes

    def add(self, file: PlannedFile) -> None:
        self.files.append(file)
        if file.error or file.digest in self._digests:
            return
        if len(self._digests) % PART_SIZE == 0:
            self._part_bytes = 0
        self._digests.add(file.digest)
        self._bytes += file.size
        self._part_bytes += file.size


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether it was left alone between two looks."""
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def reason(error: OSError) -> str:
    """Without the path: its row has it."""
    return error.strerror or type(error).__name__

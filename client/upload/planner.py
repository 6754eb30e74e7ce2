"""Plans for the files of a folder. Files are hashed ahead; the first plan is small.

A job is opened with the digests of its images, so its files are hashed before. If a whole folder
were one job, all of it would be read before the first picture is classified. Therefore an upload
is a chain of jobs. The first job is small, so that work starts at once. Later jobs are larger, so
that their number stays small.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO

from ..api.parts import PART_SIZE
from ..regular_file import RegularFile
from .plan import Plan, PlannedFile, path_key
from .walk import OnSkip, Walk

#: Files of the first job, and the growth of the next ones.
_FIRST_FILES, _GROWTH = 4 * PART_SIZE, 4
MAX_FILES = 64 * PART_SIZE

#: Bytes of a job. Files are read twice, to hash them and to send them. A job of this size is
#: still in the page cache the second time.
_MAX_BYTES = 2**28

#: Bytes of pictures in one request, unless a single one has more. The service holds a request of
#: this size in memory. A larger one is written to disk first.
PART_BYTES = 15 * 2**20

#: Bytes of the largest picture that can be sent.
MAX_REQUEST_BYTES = 48 * 2**20

#: Bytes that are read and hashed at once.
_PIECE_BYTES = 2**18

#: A file that changes while it is hashed is hashed again, so many times in all.
_READS = 3
_PAUSE_SECONDS = 0.1

#: Time between two walks when watching. A file that changed within it may still be incomplete.
WATCH_SECONDS = 2.0

#: Error codes of files that are not sent.
UNREADABLE_FILE = "unreadable_file"
_TOO_LARGE = "image_too_large"


@dataclass(kw_only=True)
class Planner:
    walk: Walk
    on_skip: OnSkip
    threads: int
    number: int = 0  #: Of the next plan.
    #: Keys of files that are planned already. New ones are added only when watching.
    planned: set[bytes] = field(default_factory=set)
    watch: bool = False
    #: When set, the walk ends and files that were already found are planned.
    stop: threading.Event = field(default_factory=threading.Event)

    def plans(self) -> Iterator[Plan]:
        """Raises OSError if the folder cannot be read."""
        limit = _FIRST_FILES
        while True:
            group = _Group()
            for each in self._hashed():
                if group.files and not group.has_room(each, limit):
                    yield self._plan(group)
                    group = _Group()
                    limit = min(_GROWTH * limit, MAX_FILES)
                group.add(each)
            if group.files:
                yield self._plan(group)
            if not self.watch or self.stop.wait(WATCH_SECONDS):
                return

    def _plan(self, group: _Group) -> Plan:
        self.number += 1
        return Plan(self.number - 1, tuple(group.files))

    def _hashed(self) -> Iterator[PlannedFile]:
        """In the order of the walk. Threads hash a few files ahead."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="hash") as threads:
            ahead: deque[Future[PlannedFile]] = deque()
            for path in self._new_paths():
                ahead.append(threads.submit(self._hash, path))
                if len(ahead) > 8 * self.threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _new_paths(self) -> Iterator[str]:
        for path in self.walk.files(self.on_skip):
            if self.stop.is_set():
                return
            if self.planned or self.watch:
                key = path_key(path)
                if key in self.planned or self.watch and not self._settled(path):
                    continue
                if self.watch:
                    self.planned.add(key)
            yield path

    def _settled(self, path: str) -> bool:
        """False if the file changed a moment ago and may be incomplete."""
        try:
            modified = os.stat(os.path.join(self.walk.folder, path)).st_mtime
        except OSError:
            return True
        return not 0 <= time.time() - modified < WATCH_SECONDS

    def _hash(self, path: str) -> PlannedFile:
        try:
            with RegularFile(os.path.join(self.walk.folder, path)) as file:
                for _ in range(_READS):
                    before = os.fstat(file.fileno())
                    if before.st_size > MAX_REQUEST_BYTES:
                        return PlannedFile(path=path, error=_too_large(before.st_size))
                    file.seek(0)
                    digest, size = _digest(file)
                    if size > MAX_REQUEST_BYTES:
                        return PlannedFile(path=path, error=_too_large(size))
                    after = os.fstat(file.fileno())
                    if _unchanged(before, after):
                        break
                    time.sleep(_PAUSE_SECONDS)
        except OSError as error:
            return PlannedFile(path=path, error=(UNREADABLE_FILE, reason(error)))
        return PlannedFile(
            path=path, digest=digest, size=after.st_size, modified_ns=after.st_mtime_ns
        )


class _Group:
    """Files that will become a plan."""

    def __init__(self) -> None:
        self.files: list[PlannedFile] = []
        self._digests: set[str] = set()
        self._bytes = 0
        self._part_bytes = 0

    def has_room(self, file: PlannedFile, limit: int) -> bool:
        """Whether the file may join this job.

        Every part except a job's last has the same number of items. If their bytes would exceed
        `PART_BYTES`, the job ends early.
        """
        if len(self.files) >= limit or self._bytes + file.size > _MAX_BYTES:
            return False
        part_bytes = self._part_bytes if len(self._digests) % PART_SIZE else 0
        return part_bytes + file.size <= PART_BYTES

    def add(self, file: PlannedFile) -> None:
        self.files.append(file)
        if file.error or file.digest in self._digests:
            return
        if len(self._digests) % PART_SIZE == 0:
            self._part_bytes = 0
        self._digests.add(file.digest)
        self._bytes += file.size
        self._part_bytes += file.size


def _digest(file: IO[bytes]) -> tuple[str, int]:
    """SHA-256 of a file in hex, and the bytes that were read: at most one piece too many.

    A file may have more bytes than its status says: it grows, or it is one of /proc without an end.
    """
    sha, size = hashlib.sha256(), 0
    while size <= MAX_REQUEST_BYTES and (piece := file.read(_PIECE_BYTES)):
        sha.update(piece)
        size += len(piece)
    return sha.hexdigest(), size


def _too_large(size: int) -> tuple[str, str]:
    megabytes, most = math.ceil(10 * size / 2**20) / 10, MAX_REQUEST_BYTES // 2**20
    message = f"The file has {megabytes:g} MB; {most} MB can be sent."
    return _TOO_LARGE, message


def _unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def reason(error: OSError) -> str:
    """The error's message without the path, which the row already has."""
    return error.strerror or type(error).__name__

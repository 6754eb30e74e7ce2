"""How the tests of archives read one, as an upload does."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import IO

from web.intake.archives.archive import Limits, Member, kind_of, members, scan

JPEG = b"\xff\xd8\xff\xe0 not a whole picture"

LIMITS = Limits(
    members=1_000,
    unpacked_bytes=50_000_000,
    ratio=100,
    free_bytes=2_000_000,
    member_bytes=1_000_000,
)

ROOMY = replace(LIMITS, ratio=10_000)


def read(data: bytes | IO[bytes], limits: Limits = LIMITS) -> list[Member]:
    """All members of an archive that becomes a job."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    kind = kind_of(file)
    assert kind, "not an archive"
    expected = scan(file, kind, limits).items
    every = list(members(file, kind, limits))
    assert len(every) == expected
    return every


def codes(every: Sequence[Member]) -> dict[str, str | None]:
    """The error code of each member by its name, None if it has no error."""
    return {each.name: each.error and each.error.code for each in every}


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Assert that Python allocates less than `limit` bytes in the block, at its peak."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < limit, f"{peak - before} bytes"

"""A plan: the files that become one job, in the order of the table's rows."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """A file as it was when it was hashed."""

    path: str  #: Relative to the folder, as the file system has it.
    digest: str = ""  #: SHA-256 in hex. Empty if the file could not be read.
    size: int = 0
    modified_ns: int = 0
    error: tuple[str, str] | None = None  #: Code and message of a file that is not sent.

    @property
    def key(self) -> bytes:
        return path_key(self.path)

    def to_list(self) -> list[Any]:
        return [self.path, self.digest, self.size, self.modified_ns, self.error]

    @classmethod
    def from_list(cls, values: list[Any]) -> Self:
        path, digest, size, modified_ns, error = values
        return cls(
            path=path,
            digest=digest,
            size=size,
            modified_ns=modified_ns,
            error=(error[0], error[1]) if error else None,
        )


@dataclass(frozen=True)
class Plan:
    number: int
    files: tuple[PlannedFile, ...]
    #: The Idempotency-Key of the job.
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    #: Why the bytes of a file could not be sent, by position.
    unread: dict[int, str] = field(default_factory=dict)
    #: Its rows in the table, by state, and its errors by code. Rows are written in order.
    written: Counter[str] = field(default_factory=Counter)

    @cached_property
    def items(self) -> Sequence[int]:
        """For each item of the job, the position of its file; of equal files, the first."""
        return [positions[0] for positions in self.copies]

    @cached_property
    def copies(self) -> Sequence[Sequence[int]]:
        """For each item of the job, the positions of the files that were equal."""
        return list(self._positions.values())

    @cached_property
    def item_of(self) -> Sequence[int | None]:
        """For each file, the item that has its result. None for a file that is not sent."""
        number = {digest: item for item, digest in enumerate(self._positions)}
        return [None if each.error else number[each.digest] for each in self.files]

    @cached_property
    def _positions(self) -> dict[str, list[int]]:
        """By digest."""
        positions: dict[str, list[int]] = {}
        for position, each in enumerate(self.files):
            if not each.error:
                positions.setdefault(each.digest, []).append(position)
        return positions


def row_count(counts: Mapping[str, int]) -> int:
    """The number of rows. Error codes are counted beside the states."""
    return sum(number for name, number in counts.items() if not name.startswith("code:"))


def path_key(path: str) -> bytes:
    """A path in 16 bytes, so that 200,000 of them fit into memory."""
    return blake2b(os.fsencode(path), digest_size=16).digest()

"""Asking a pool process to end its batch soon, because other clients wait for a process."""

from __future__ import annotations

import mmap

_BYTES = 8


class Recall:
    """Make it before the pool processes are forked: they share its memory."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BYTES)

    def ask(self, batch: int) -> None:
        """Recall the batch with this number, and no longer the one before."""
        self._memory[:] = batch.to_bytes(_BYTES, "big")

    def asked(self, batch: int) -> bool:
        return int.from_bytes(self._memory[:], "big") == batch

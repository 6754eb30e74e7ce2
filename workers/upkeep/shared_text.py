"""A text that the pool processes of a worker write, and its main process reads."""

from __future__ import annotations

import mmap

_HEAD_BYTES = 4


class SharedText:
    """Make it before the pool processes are forked: they share its memory."""

    def __init__(self, size: int = 2**16) -> None:
        """A text may have about `size` bytes. Bytes that no text has used take no memory."""
        self._memory = mmap.mmap(-1, size)

    def write(self, text: str) -> None:
        """Replace the text. Raises IndexError if it is too long."""
        data = text.encode()
        self._memory[_HEAD_BYTES : _HEAD_BYTES + len(data)] = data
        # The length comes last: before that, a reader finds the old text or none.
        self._memory[:_HEAD_BYTES] = len(data).to_bytes(_HEAD_BYTES, "big")

    def read(self) -> str:
        """The text; empty if no process has written one."""
        length = int.from_bytes(self._memory[:_HEAD_BYTES], "big")
        return self._memory[_HEAD_BYTES : _HEAD_BYTES + length].decode()

"""How an upload reports its progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    total: int | None  #: Pictures in all. None until they are counted.

    def show(self, *, done: int, failed: int, earlier: int = 0) -> None:
        """Show the number of finished pictures, `failed` included.

        Earlier runs have finished `earlier` of them, which say nothing about the speed.
        """

    def report(self, text: str) -> None:
        """Print one line. Any thread may call it."""

    def close(self) -> None: ...

"""A worker that measures and logs nothing, for the comparison in `loadtest.observability`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from workers.classify import tasks
from workers.app import app
from workers.classify.batch_report import BatchReport, Stage

__all__ = ["app"]


class Unobserved(BatchReport):
    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        yield Stage(name, 0.0)

    def name(self, works: Any) -> None: ...

    def publish(self, works: Any, outcomes: Any) -> None: ...


tasks.BatchReport = Unobserved  # type: ignore[misc]

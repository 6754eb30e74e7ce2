"""One micro-batch as an operator sees it: its stages in metrics, and one log line."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from shared import metrics
from shared.job_store import PartWork
from shared.jobs import Lane, Outcome, PartRef

logger = logging.getLogger(__name__)

#: What a batch goes through, in this order.
_STAGES = ("fetch", "preprocess", "inference", "commit")

#: Histograms of what is measured once for a batch; the rest is measured for each picture.
_HISTOGRAMS = {
    "fetch": metrics.FETCH_DURATION,
    "inference": metrics.INFERENCE_DURATION,
    "commit": metrics.COMMIT_DURATION,
}


class BatchReport:
    """Notes when each stage began and ended, and tells it all at the end.

    What raises in between is told by nobody here: Celery's failure is, by the main process.
    """

    def __init__(self, lane: Lane) -> None:
        self.formed_at = time.time()
        self._lane = lane
        self._stages: dict[str, tuple[float, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.time()
        yield
        self._stages[name] = (began, time.time())

    def milliseconds(self, name: str) -> float:
        """Length of a stage; 0 where it wasn't reached."""
        began, ended = self._stages.get(name, (0.0, 0.0))
        return 1000 * (ended - began)

    def tell(
        self, works: Sequence[PartWork], outcomes: Mapping[PartRef, Mapping[int, Outcome]]
    ) -> None:
        """Once everything is committed: nobody waits for this but the next batch."""
        every = [outcome for of_part in outcomes.values() for outcome in of_part.values()]
        self._count(works, every)
        logger.info(
            "micro-batch",
            extra={
                "event.dataset": "classifier.batch",
                "event.duration": int(1e9 * (time.time() - self.formed_at)),
                "lane": self._lane.value,
                "job.id": sorted({work.ref.job_id for work in works}),
                "part.id": [work.ref.member for work in works],
                "batch.parts": len(works),
                "batch.images": len(every),
                "batch.failed": sum(outcome.error is not None for outcome in every),
                "batch.queue_ms": round(self._longest_queue(works), 2),
                **{f"batch.{name}_ms": round(self.milliseconds(name), 2) for name in _STAGES},
            },
        )

    def _longest_queue(self, works: Iterable[PartWork]) -> float:
        waited = (1000 * (self.formed_at - work.accepted_at) for work in works)
        return max(0.0, max(waited, default=0.0))

    def _count(self, works: Sequence[PartWork], outcomes: Sequence[Outcome]) -> None:
        lane = self._lane
        for work in works:
            metrics.PART_STARTS.labels(lane, work.attempt).inc()
        for name, histogram in _HISTOGRAMS.items():
            if name in self._stages:
                histogram.labels(lane).observe(self.milliseconds(name) / 1000)
        metrics.BATCH_IMAGES.labels(lane).observe(len(outcomes))
        queued, preprocessed = (
            metrics.QUEUE_DURATION.labels(lane),
            metrics.PREPROCESS_DURATION.labels(lane),
        )
        for outcome in outcomes:
            code = outcome.error.code if outcome.error else outcome.state.value
            metrics.IMAGES_FINISHED.labels(lane, code).inc()
            if outcome.durations:
                queued.observe(outcome.durations.queue_ms / 1000)
                preprocessed.observe(outcome.durations.preprocess_ms / 1000)

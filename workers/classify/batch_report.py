"""One micro-batch as an operator sees it: its stages in metrics, one log line, and its spans."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from shared.observe import log, metrics, tracing
from shared.records.work import PartWork
from shared.jobs import Lane, Outcome, PartRef
from shared.observe.tracing import TraceContext

logger = logging.getLogger(__name__)

#: What a batch goes through, in this order.
_STAGES = ("fetch", "preprocess", "inference", "commit")

#: Histograms of what is measured once for a batch; the rest is measured for each picture.
_HISTOGRAMS = {
    "fetch": metrics.FETCH_DURATION,
    "inference": metrics.INFERENCE_DURATION,
    "commit": metrics.COMMIT_DURATION,
}


@dataclass
class Stage:
    """One time through a stage, in Unix seconds; a batch goes through most once for each run."""

    name: str
    began: float
    ended: float = 0.0

    @property
    def milliseconds(self) -> float:
        return 1000 * (self.ended - self.began)


class BatchReport:
    """Notes when each stage began and ended, and tells it all at the end.

    What raises in between is told by nobody here: Celery's failure is, by the main process.
    """

    def __init__(self, lane: Lane) -> None:
        self.formed_at = time.time()
        self._lane = lane
        self._stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        stage = Stage(name, time.time())
        yield stage
        stage.ended = time.time()
        self._stages.append(stage)

    def _milliseconds(self, name: str) -> float:
        """Of all runs together; 0 where none reached the stage."""
        return sum(stage.milliseconds for stage in self._stages if stage.name == name)

    def name(self, works: Sequence[PartWork]) -> None:
        """Say in every later line which jobs, parts and traces this batch is about."""
        log.note(
            lane=self._lane.value,
            job_id=sorted({work.ref.job_id for work in works}),
            part_id=[work.ref.member for work in works],
            trace_id=sorted({context.trace_id for context in _contexts(works)}),
        )

    def tell(
        self, works: Sequence[PartWork], outcomes: Mapping[PartRef, Mapping[int, Outcome]]
    ) -> None:
        """Once everything is committed: nobody waits for this but the next batch."""
        every = [outcome for of_part in outcomes.values() for outcome in of_part.values()]
        ended_at = time.time()
        self._count(works, every)
        self._trace(works, ended_at)
        waited = (1000 * (self.formed_at - work.accepted_at) for work in works)
        logger.info(
            "micro-batch",
            extra={
                "event.dataset": log.BATCH,
                "event.duration": int(1e9 * (ended_at - self.formed_at)),
                "batch.parts": len(works),
                "batch.images": len(every),
                "batch.failed": sum(outcome.error is not None for outcome in every),
                "batch.queue_ms": round(max(0.0, max(waited, default=0.0)), 2),
                **{f"batch.{name}_ms": round(self._milliseconds(name), 2) for name in _STAGES},
            },
        )

    def _count(self, works: Sequence[PartWork], outcomes: Sequence[Outcome]) -> None:
        lane = self._lane
        for work in works:
            metrics.PART_STARTS.labels(lane, work.attempt).inc()
        for name in _HISTOGRAMS.keys() & {stage.name for stage in self._stages}:
            _HISTOGRAMS[name].labels(lane).observe(self._milliseconds(name) / 1000)
        metrics.BATCH_IMAGES.labels(lane).observe(len(outcomes))
        queued = metrics.QUEUE_DURATION.labels(lane)
        preprocessed = metrics.PREPROCESS_DURATION.labels(lane)
        for outcome in outcomes:
            code = outcome.error.code if outcome.error else outcome.state.value
            metrics.IMAGES_FINISHED.labels(lane, code).inc()
            if outcome.durations:
                queued.observe(outcome.durations.queue_ms / 1000)
                preprocessed.observe(outcome.durations.preprocess_ms / 1000)

    def _trace(self, works: Sequence[PartWork], ended_at: float) -> None:
        """Spans after the fact. A batch of one trace is part of it; of a crowd it has its own,
        linked with each part's wait for it, both ways."""
        if not tracing.enabled():
            return
        contexts = _contexts(works)
        only = contexts[0] if len({context.trace_id for context in contexts}) == 1 else None
        batch = tracing.begin("micro-batch", parent=only, kind="consumer", at=self.formed_at)
        batch.note({"lane": self._lane.value, "batch.parts": len(works)})
        for work in works:
            if context := TraceContext.from_header(work.trace):
                waited = tracing.begin(
                    "queue", parent=context, at=work.accepted_at, links=[batch.context]
                )
                named: dict[str, str | int] = {"job.id": work.ref.job_id}
                named |= {"part.id": work.ref.member, "items": len(work.digests)}
                waited.note(named)
                waited.end(at=self.formed_at)
                batch.link(waited.context, **named)
        for stage in self._stages:
            tracing.begin(stage.name, parent=batch.context, at=stage.began).end(at=stage.ended)
        batch.end(at=ended_at)


def _contexts(works: Sequence[PartWork]) -> list[TraceContext]:
    found = (TraceContext.from_header(work.trace) for work in works)
    return [context for context in found if context]

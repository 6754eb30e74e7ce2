"""Reports one micro-batch to operators: metrics, one log line and spans."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from shared import clock
from shared.observe import log, metrics, tracing
from shared.records.work import PartWork
from shared.jobs import Lane, Outcome, PartRef
from shared.observe.tracing import TraceContext

logger = logging.getLogger(__name__)

#: The stages of a batch, in order.
_STAGES = ("fetch", "preprocess", "inference", "commit")

#: Histograms of stages that are measured once per batch. The others are measured per picture.
_HISTOGRAMS = {
    "fetch": metrics.FETCH_DURATION,
    "inference": metrics.INFERENCE_DURATION,
    "commit": metrics.COMMIT_DURATION,
}


@dataclass
class Stage:
    """One pass through a stage, in Unix seconds. Most stages are passed once for each run."""

    name: str
    began: float
    ended: float = 0.0

    @property
    def milliseconds(self) -> float:
        return 1000 * (self.ended - self.began)


class BatchReport:
    """Records when each stage began and ended, and publishes it at the end.

    An exception in between is not reported here. The main process logs the failure of the task.
    """

    def __init__(self, lane: Lane, formed_at: float) -> None:
        """`formed_at` is in Unix seconds by the clock of Redis."""
        self.formed_at = formed_at
        self._lane = lane
        self._stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        stage = Stage(name, clock.reading())
        yield stage
        stage.ended = clock.reading()
        self._stages.append(stage)

    def _milliseconds(self, name: str) -> float:
        """The time of a stage in all runs together; 0 if no run reached it."""
        return sum(stage.milliseconds for stage in self._stages if stage.name == name)

    def name(self, works: Sequence[PartWork]) -> None:
        """Add the batch's jobs, parts and traces to every later log line."""
        log.note(
            lane=self._lane.value,
            job_id=sorted({work.ref.job_id for work in works}),
            part_id=[work.ref.member for work in works],
            trace_id=sorted({context.trace_id for context in _contexts(works)}),
        )

    def publish(
        self, works: Sequence[PartWork], outcomes: Mapping[PartRef, Mapping[int, Outcome]]
    ) -> None:
        """Write metrics, spans and the log line. Call it after the commit: no client waits then."""
        every = [outcome for of_part in outcomes.values() for outcome in of_part.values()]
        ended_at = clock.reading()
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
        """Create the spans afterwards.

        If all parts belong to one trace, the batch's span does, too. Else it has a trace of its
        own, and links connect it with the span of each part's wait, in both directions.
        """
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
    contexts = (TraceContext.from_header(work.trace) for work in works)
    return [context for context in contexts if context]

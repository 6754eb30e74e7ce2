"""The task `classify` decodes, classifies and commits the parts of a micro-batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from redis import Redis

from shared.errors import ClassifierError, ImageExpired
from shared.records.work import PartRecords, PartWork
from shared.jobs import MAX_TOP_K, Durations, ItemState, Lane, Outcome, PartRef
from shared.result_cache import ResultCache
from workers.classify.batch_report import BatchReport
from workers.decode.decoder import Decoder
from workers.engine import Engine
from workers.engine.labels import top


@dataclass(frozen=True)
class _Ready:
    """A decoded picture, and the item to which its outcome belongs."""

    work: PartWork
    position: int
    pixels: NDArray[np.uint8]
    preprocess_ms: float


class BatchClassifier:
    """Classifies parts in one pool process, with the decoder and engine that it has loaded."""

    def __init__(
        self,
        decoder: Decoder,
        engine: Engine,
        redis: Redis,
        parts: PartRecords,
        cache: ResultCache,
        *,
        lane: Lane,
    ) -> None:
        self._decoder = decoder
        self._engine = engine
        self._redis = redis
        self._parts = parts
        self._cache = cache
        self._lane = lane

    def classify(self, refs: Sequence[PartRef], *, alone: bool = False) -> int:
        """Classify and commit parts. Returns the number of images that were processed.

        `alone`: no other process of this worker is busy, or was a moment ago.

        A picture that cannot be decoded becomes an error of its item. If anything raises here, the
        parts that are not committed stay outstanding and are delivered again.
        """
        report = BatchReport(self._lane)
        with report.stage("fetch"):
            works = self._parts.start(refs, self._lane)
        report.name(works)
        outcomes: dict[PartRef, dict[int, Outcome]] = {}
        for run in self._runs(works):
            outcomes |= self._run(run, report, alone)
        report.publish(works, outcomes)
        return sum(len(each) for each in outcomes.values())

    def _runs(self, works: Sequence[PartWork]) -> Iterator[list[PartWork]]:
        """Groups of whole parts, each with enough images for the engine.

        Each group is committed at its end, so the first clients do not wait for the last picture.
        """
        run: list[PartWork] = []
        for work in works:
            run.append(work)
            if sum(len(each.digests) for each in run) >= self._engine.pictures_at_once:
                yield run
                run = []
        if run:
            yield run

    def _run(
        self, works: Sequence[PartWork], report: BatchReport, alone: bool
    ) -> dict[PartRef, dict[int, Outcome]]:
        """Classify parts together and commit them. Returns the outcome of each picture."""
        outcomes: dict[PartRef, dict[int, Outcome]] = {work.ref: {} for work in works}
        with report.stage("preprocess"):
            decoded = self._decode(works, outcomes)
        if decoded:
            with report.stage("inference") as inference:
                scores = self._predict(decoded, alone)
            for each, row in zip(decoded, scores, strict=True):
                queue_ms = max(0.0, 1000 * (report.formed_at - each.work.accepted_at))
                durations = Durations(
                    queue_ms=round(queue_ms, 3),
                    preprocess_ms=round(each.preprocess_ms, 3),
                    inference_ms=round(inference.milliseconds, 3),
                )
                outcomes[each.work.ref][each.position] = self._outcome(row, durations)
        with report.stage("commit"):
            self._commit(works, outcomes)
        return outcomes

    def _decode(
        self, works: Sequence[PartWork], outcomes: dict[PartRef, dict[int, Outcome]]
    ) -> list[_Ready]:
        """The decoded pictures of a run. Adds an outcome for each that cannot be decoded."""
        ready = []
        for work in works:
            for position in work.digests:
                if position not in work.images:
                    outcomes[work.ref][position] = Outcome.failure(ImageExpired())
                    continue
                pixels, milliseconds = self._decoder.decode(work.images[position])
                if isinstance(pixels, ClassifierError):
                    outcomes[work.ref][position] = Outcome.failure(pixels)
                else:
                    ready.append(_Ready(work, position, pixels, milliseconds))
        return ready

    def _predict(self, decoded: Sequence[_Ready], alone: bool) -> NDArray[np.float32]:
        """Scores of shape (pictures, classes)."""
        pixels = np.stack([each.pixels for each in decoded])
        scores = self._engine.predict(pixels, alone=alone)
        if len(scores) != len(decoded):
            raise RuntimeError(f"{len(decoded)} pictures gave {len(scores)} rows of scores")
        return scores

    def _outcome(self, scores: NDArray[np.float32], durations: Durations) -> Outcome:
        model = self._engine.model
        return Outcome(
            state=ItemState.SUCCEEDED,
            predictions=top(scores, model.labels, MAX_TOP_K),
            model_version=model.version,
            durations=durations,
        )

    def _commit(
        self, works: Sequence[PartWork], outcomes: dict[PartRef, dict[int, Outcome]]
    ) -> None:
        """Write everything in one round trip.

        The cache is written before a part's end is published, because a client that is notified may
        send the same picture again.
        """
        pipe = self._redis.pipeline(transaction=False)
        for work in works:
            of_part = outcomes[work.ref]
            succeeded = {
                work.digests[k]: outcome
                for k, outcome in of_part.items()
                if outcome.state is ItemState.SUCCEEDED
            }
            self._cache.put(pipe, succeeded)
            shown = {k: _shown(outcome, work.top_k) for k, outcome in of_part.items()}
            self._parts.commit(pipe, work.ref, self._lane, shown)
        pipe.execute()


def _shown(outcome: Outcome, top_k: int) -> Outcome:
    """The outcome with as many predictions as the client asked for. The cache keeps all."""
    return replace(outcome, predictions=outcome.predictions[:top_k])

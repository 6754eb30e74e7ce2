"""The task `classify` decodes, classifies and commits the parts of a micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from redis import Redis
from redis.exceptions import RedisError

from shared import clock
from shared.errors import NoEmbedding
from shared.records.work import PartRecords, PartWork
from shared.jobs import Durations, ItemState, Lane, Outcome, PartRef
from shared.result_cache import ResultCache
from shared.thumbnails import Thumbnails
from workers.classify.background import Background
from workers.classify.batch_report import BatchReport
from workers.classify.budget import DecodeBudget
from workers.classify.decoding import BatchDecoding, Ready
from workers.classify.judge import Judge
from workers.classify.outage import RedisAway, after_outage, is_outage
from workers.classify.slow_clients import SlowClients
from workers.classify.thumbnail import thumbnail
from workers.decode.decoder import Decoder
from workers.engine import Engine

_LARGEST = np.finfo(np.float16).max

_Outcomes = dict[PartRef, dict[int, Outcome]]


class BatchClassifier:
    """Classifies parts in one pool process, with the decoder and engine that it has loaded."""

    def __init__(
        self,
        decoder: Decoder,
        engine: Engine,
        redis: Redis,
        parts: PartRecords,
        cache: ResultCache,
        thumbnails: Thumbnails,
        *,
        lane: Lane,
        budget: DecodeBudget,
        patience: float,
    ) -> None:
        """`patience` is how many seconds a batch waits for the end of an outage of Redis."""
        self._decoder = decoder
        self._engine = engine
        self._version = engine.model.version
        self._judge = Judge(engine.model)
        self._redis = redis
        self._parts = parts
        self._cache = cache
        self._thumbnails = thumbnails
        self._lane = lane
        self._budget = budget
        self._patience = patience
        self._slow_clients = SlowClients()
        self._background = Background()

    def classify(
        self,
        refs: Sequence[PartRef],
        *,
        alone: bool = False,
        slow: bool = False,
        others: bool = False,
        recalled: Callable[[], bool] = lambda: False,
    ) -> int:
        """Classify and commit parts. Returns the number of images that were processed.

        `alone`: no other process of this worker is busy, or was a moment ago. `slow`: the batch may
        be slow, because another process is there for the others. A batch that may not puts its
        slow pictures back into the queue. One that may be slow ends early once `recalled` returns
        true. `others`: clients without slow pictures are there, so they go first on each core.

        A picture that cannot be decoded becomes an error of its item. If anything raises here, the
        parts that are not committed stay outstanding and are delivered again. After an outage of
        Redis they are so at once. Pictures for which the batch has no time left are put back into
        the queue.
        """
        try:
            return self._classify(refs, alone, slow=slow, others=others, recalled=recalled)
        except RedisError as error:
            if not is_outage(error):
                raise
            returned = after_outage(lambda: self._return(refs), seconds=self._patience)
            then = "now" if returned else "when their deadline has passed"
            raise RedisAway(f"{error}. The pictures return to the queue {then}.") from error

    def _return(self, refs: Iterable[PartRef]) -> None:
        self._parts.put_back({ref: () for ref in refs}, self._lane, self._version)

    def _classify(
        self,
        refs: Sequence[PartRef],
        alone: bool,
        *,
        slow: bool,
        others: bool,
        recalled: Callable[[], bool],
    ) -> int:
        report = BatchReport(self._lane, clock.now(self._redis))
        with report.stage("fetch"):
            works = self._parts.start(refs, self._lane, self._version)
        report.name(works)
        outcomes: _Outcomes = {work.ref: {} for work in works}
        decoding = BatchDecoding(
            self._decoder,
            self._parts.images,
            works,
            self._budget,
            pictures_at_once=self._engine.pictures_at_once,
            slow=slow,
            others=others,
            slow_clients=self._slow_clients,
            background=self._background,
            recalled=recalled,
        )
        clients = {work.ref: work.client for work in works}
        if slow_parts := decoding.take_slow_clients():
            self._parts.put_back(slow_parts, self._lane, self._version, clients, slow_parts)
        while not decoding.over:
            # Each run is committed at its end, so the first clients do not wait for the last
            # picture.
            for ref, of_part in self._run(decoding, report, alone).items():
                outcomes[ref] |= of_part
        if left := decoding.left():
            self._parts.put_back(left, self._lane, self._version, clients, decoding.alone())
        report.publish(works, outcomes)
        return sum(len(each) for each in outcomes.values())

    def _run(self, decoding: BatchDecoding, report: BatchReport, alone: bool) -> _Outcomes:
        """Decode, classify and commit the next pictures. Returns their outcomes."""
        with report.stage("preprocess"):
            run = decoding.next_run()
        outcomes: _Outcomes = {}
        works = {each.ref: each for each, *_ in run.failed} | {
            each.work.ref: each.work for each in run.ready
        }
        for work, position, outcome in run.failed:
            outcomes.setdefault(work.ref, {})[position] = outcome
        if run.ready:
            with report.stage("inference") as inference:
                answers = self._predict(run.ready, alone)
            for each, (row, embedding) in zip(run.ready, answers, strict=True):
                queue_ms = max(0.0, 1000 * (report.formed_at - each.work.accepted_at))
                durations = Durations(
                    queue_ms=round(queue_ms, 3),
                    preprocess_ms=round(each.preprocess_ms, 3),
                    inference_ms=round(inference.milliseconds, 3),
                )
                outcome = self._outcome(row, durations)
                if each.work.embeddings:
                    outcome = self._embedded(outcome, embedding, each.work.embeddings)
                outcomes.setdefault(each.work.ref, {})[each.position] = outcome
        if outcomes:
            with report.stage("commit"):
                self._commit([works[ref] for ref in outcomes], outcomes, _thumbnails(run.ready))
        return outcomes

    def _predict(
        self, decoded: Sequence[Ready], alone: bool
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """The scores of each picture, and its embedding if a picture of the run is to get one."""
        pixels = np.stack([each.pixels for each in decoded])
        embeddings: Iterable[NDArray[np.float32] | None] = [None] * len(decoded)
        if self._engine.model.embedding and any(each.work.embeddings for each in decoded):
            scores, vectors = self._engine.predict_and_embed(pixels, alone=alone)
            embeddings = iter(vectors)
        else:
            scores = self._engine.predict(pixels, alone=alone)
        if len(scores) != len(decoded):
            raise RuntimeError(f"{len(decoded)} pictures gave {len(scores)} rows of scores")
        return list(zip(scores, embeddings, strict=True))

    def _outcome(self, scores: NDArray[np.float32], durations: Durations) -> Outcome:
        return Outcome(
            state=ItemState.SUCCEEDED,
            model_version=self._version,
            durations=durations,
            **self._judge.judge(scores)._asdict(),
        )

    def _embedded(
        self, outcome: Outcome, embedding: NDArray[np.float32] | None, numbers: int
    ) -> Outcome:
        """The outcome with its embedding, which must have so many numbers.

        Web accepts such a job for a model that has an embedding. Another one answers it only if no
        worker has that model any more.
        """
        if embedding is None or len(embedding) != numbers:
            return Outcome.failure(NoEmbedding())
        return replace(outcome, embedding=_as_float16(embedding))

    def _commit(
        self, works: Sequence[PartWork], outcomes: _Outcomes, thumbnails: Mapping[str, bytes]
    ) -> None:
        """Write everything in one round trip.

        The cache is written before a part's end is published, because a client that is notified may
        send the same picture again.
        """
        pipe = self._redis.pipeline(transaction=False)
        self._thumbnails.put(pipe, thumbnails)
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


def _thumbnails(decoded: Sequence[Ready]) -> dict[str, bytes]:
    """A thumbnail, by digest, of each picture whose job asks for it."""
    return {
        each.work.digests[each.position]: thumbnail(each.pixels)
        for each in decoded
        if each.work.thumbnails
    }


def _as_float16(embedding: NDArray[np.float32]) -> bytes:
    """Little-endian. A number that is too large becomes the largest one."""
    return np.clip(embedding, -_LARGEST, _LARGEST).astype("<f2").tobytes()


def _shown(outcome: Outcome, top_k: int) -> Outcome:
    """The outcome with as many predictions as the client asked for. The cache keeps all."""
    return replace(outcome, predictions=outcome.predictions[:top_k])

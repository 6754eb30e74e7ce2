"""Answers from the result cache: the same bytes and the same model give the same outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from shared.errors import ModelNotReady
from shared.jobs import Outcome
from shared.observe import metrics
from shared.result_cache import ResultCache
from shared.serving.model_versions import CurrentModel
from shared.single_flight import SingleFlight
from shared.thumbnails import Thumbnails
from web.intake.uploads import Upload
from web.server.fairness.rests import RESTS

#: Digests whose answers are asked for at once. The client may rest then.
_AT_ONCE = 5_000


class _Question(NamedTuple):
    model_version: str
    digests: Sequence[str]
    embeddings: bool  #: Whether an answer needs one.


class CachedAnswers:
    """The result cache for a model version. A crowd of single pictures shares a round trip."""

    def __init__(self, cache: ResultCache, thumbnails: Thumbnails, model: CurrentModel) -> None:
        self._cache = cache
        self._thumbnails = thumbnails
        self._model = model
        self._flight: SingleFlight[_Question, list[Outcome | None]] = SingleFlight(self._ask)

    def outcomes(
        self,
        uploads: Sequence[Upload],
        top_k: int,
        *,
        thumbnails: bool = False,
        embeddings: bool = False,
        version: str | None = None,
    ) -> list[Outcome | None]:
        """For each upload its fault, its answer from the cache, or None if a worker must see it.

        The answers are those of a model version, of the current one if it is not given.
        With `thumbnails`, a worker must also see a picture that has none, and with `embeddings`
        one without an embedding. Raises RedisError.
        """
        outcomes = [Outcome.failure(each.error) if each.error else None for each in uploads]
        asked = [k for k, outcome in enumerate(outcomes) if outcome is None]
        answers = self._look_up([uploads[k].digest for k in asked], version, embeddings)
        hits = {uploads[k].digest for k, cached in zip(asked, answers, strict=True) if cached}
        without = self._thumbnails.missing([*hits]) if thumbnails and hits else set()
        for k, cached in zip(asked, answers, strict=True):
            if uploads[k].digest in without and uploads[k].read:
                cached = None
            metrics.CACHE_REQUESTS.labels("hit" if cached else "miss").inc()
            if cached:
                outcomes[k] = replace(cached, predictions=cached.predictions[:top_k])
        return outcomes

    def positions(
        self, digests: Sequence[str], version: str | None = None, *, embeddings: bool = False
    ) -> list[int]:
        """Positions of the digests that have an answer of this version. Raises RedisError."""
        asked = self._version(version)
        if not asked:
            return []
        found: list[int] = []
        for start in range(0, len(digests), _AT_ONCE):
            some = digests[start : start + _AT_ONCE]
            cached = self._cache.cached(asked, some, embeddings=embeddings)
            found += [start + position for position in cached]
            RESTS.rest_if_owed()
        return found

    def _look_up(
        self, digests: Sequence[str], version: str | None, embeddings: bool
    ) -> list[Outcome | None]:
        if not digests:
            return []
        asked = self._version(version)
        if asked is None:  # the picture waits for the first worker
            return [None] * len(digests)
        return self._flight.ask(_Question(asked, digests, embeddings))

    def _version(self, version: str | None) -> str | None:
        """`version`, or else the current one; None before there is one."""
        try:
            return version or self._model.get().version
        except ModelNotReady:
            return None

    def _ask(self, questions: Sequence[_Question]) -> list[list[Outcome | None]]:
        """The outcomes for each question: a round trip for each model version, so mostly one.

        Those that need embeddings are asked apart, because they take three times the bytes.
        """
        answers: dict[int, list[Outcome | None]] = {}
        kinds = [(question.model_version, question.embeddings) for question in questions]
        for version, embeddings in set(kinds):
            asked = [k for k, kind in enumerate(kinds) if kind == (version, embeddings)]
            digests = [digest for k in asked for digest in questions[k].digests]
            outcomes = iter(self._cache.get(version, digests, embeddings=embeddings))
            for k in asked:
                answers[k] = list(islice(outcomes, len(questions[k].digests)))
        return [answers[k] for k in range(len(questions))]

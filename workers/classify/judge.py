"""Which labels a picture gets, by its scores and the thresholds of the model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.jobs import MAX_TOP_K, Prediction
from workers.engine import Model
from workers.engine.labels import best_of, predictions, top


class Judgement(NamedTuple):
    predictions: tuple[Prediction, ...]  #: The labels that reach their thresholds come first.
    reaching: int | None  #: Their number. None: the model has no thresholds.


class Judge:
    def __init__(self, model: Model) -> None:
        self._labels = model.labels
        self._several = model.several
        self._thresholds = np.asarray(model.thresholds)

    def judge(self, scores: NDArray[np.float32]) -> Judgement:
        """The judgement of one picture. `scores` has shape (classes,).

        If one label is right for a picture, only the most probable label may be given.
        """
        if not len(self._thresholds):
            return Judgement(top(scores, self._labels, MAX_TOP_K), None)
        if not self._several:
            best = top(scores, self._labels, MAX_TOP_K)
            class_id, _, score = best[0]
            return Judgement(best, int(score >= self._thresholds[class_id]))
        reaches = scores >= self._thresholds
        above, below = np.flatnonzero(reaches), np.flatnonzero(~reaches)
        first = above[best_of(scores[above], MAX_TOP_K)]
        others = below[best_of(scores[below], MAX_TOP_K - len(first))]
        ids = np.concatenate([first, others])
        return Judgement(predictions(ids, scores, self._labels), len(first))

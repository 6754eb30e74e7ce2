"""Labels are the names of a model's classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.jobs import Prediction


def read_labels(path: Path, option: str = "MODEL_LABELS") -> tuple[str, ...]:
    """Read one label per line, UTF-8. Line n names class n - 1. `option` is what named the file.

    Raises ModelError if the file is missing, empty or not UTF-8, or has a blank line between
    labels. Skipping a blank line would give every later class the wrong name.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{option}: cannot read {path}: {error}") from error
    labels = tuple(line.strip() for line in text.rstrip().splitlines())
    if not labels:
        raise ModelError(f"{option}: {path} is empty")
    if "" in labels:
        raise ModelError(f"{option}: line {labels.index('') + 1} of {path} is blank")
    return labels


def top(scores: NDArray[np.float32], labels: Sequence[str], k: int) -> tuple[Prediction, ...]:
    """The k most probable classes of one picture, best first, or all if there are fewer.

    `scores` has shape (classes,). If two scores are equal, the lower class id comes first.
    """
    return predictions(best_of(scores, k), scores, labels)


def best_of(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """The places of the k highest scores, best first, or of all if there are fewer."""
    k = min(k, len(scores))
    if k == 0:
        return np.empty(0, np.intp)
    # Only candidates are sorted, not all classes. They include all that tie with the k-th.
    least = np.partition(scores, -k)[-k]
    candidates = np.flatnonzero(scores >= least)
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]


def predictions(
    ids: NDArray[np.intp], scores: NDArray[np.float32], labels: Sequence[str]
) -> tuple[Prediction, ...]:
    return tuple(Prediction(int(i), labels[i], float(scores[i])) for i in ids)

"""Labels: the names of a model's classes, and the best of them for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.jobs import Prediction


def read_labels(path: Path) -> tuple[str, ...]:
    """One label per line, UTF-8; line n names class n - 1.

    Raises ModelError where the file is missing, empty, not UTF-8, or has a blank line among the
    labels: skipping it would give every later class its neighbour's name.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"MODEL_LABELS: cannot read {path}: {error}") from error
    labels = tuple(line.strip() for line in text.rstrip().splitlines())
    if not labels:
        raise ModelError(f"MODEL_LABELS: {path} is empty")
    if "" in labels:
        raise ModelError(f"MODEL_LABELS: line {labels.index('') + 1} of {path} is blank")
    return labels


def top(scores: NDArray[np.float32], labels: Sequence[str], k: int) -> tuple[Prediction, ...]:
    """The k most probable classes of one picture, best first; of equals the lower class id.

    `scores` has shape (classes,). Fewer than k where there are fewer classes.
    """
    k = min(k, len(scores))
    # Sorting k candidates instead of a thousand; all that tie with the last one are among them.
    least = np.partition(scores, -k)[-k]
    candidates = np.flatnonzero(scores >= least)
    best = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
    return tuple(Prediction(int(i), labels[i], float(scores[i])) for i in best)

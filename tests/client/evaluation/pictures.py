"""Made-up answers of a model, for the figures of an evaluation."""

from __future__ import annotations

import random

from client.evaluation.judged import Judged

NAMES = [f"class {k:02}" for k in range(12)]


def made_up(number: int, *, seed: int = 0, skill: float = 0.6) -> list[Judged]:
    """Pictures with three labels each. The first is right for a share of about `skill`."""
    source = random.Random(seed)
    pictures = []
    for k in range(number):
        truth = NAMES[source.randrange(10)]  # two classes are only ever predicted
        order = source.sample(NAMES, 3)
        if source.random() < skill:
            order = [truth, *(name for name in order if name != truth)][:3]
        first = source.uniform(0.3, 1.0)
        second = source.uniform(0, 1 - first)
        probabilities = (first, min(first, second), min(second, 1 - first - second) / 2)
        pictures.append(Judged(f"{truth}/{k}.jpg", truth, tuple(order), probabilities))
    return pictures

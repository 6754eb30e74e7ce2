"""Accuracy: of all pictures, of each class, and which classes are confused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from .judged import Judged

#: Of the standard normal distribution, for an interval of 95 %.
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Share:
    """How many of how many, with the interval that has the true share in 95 of 100 cases."""

    right: int
    of: int

    @property
    def share(self) -> float:
        return self.right / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval (1927). It is right also for small numbers and for 0 or 100 %."""
        if not self.of:
            return 0.0, 1.0
        spread = _Z**2 / self.of
        middle = (self.share + spread / 2) / (1 + spread)
        half = math.sqrt(self.share * (1 - self.share) * spread + spread**2 / 4) / (1 + spread)
        return max(0.0, middle - half), min(1.0, middle + half)


def top_1(pictures: Sequence[Judged]) -> Share:
    return Share(sum(each.is_right for each in pictures), len(pictures))


def top_5(pictures: Sequence[Judged]) -> Share:
    return Share(sum(each.is_in_five for each in pictures), len(pictures))


@dataclass(frozen=True)
class ClassFigures:
    name: str
    pictures: int  #: That have this right label.
    predicted: int  #: That got this label.
    right: int  #: Both.

    @property
    def precision(self) -> float:
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.pictures if self.pictures else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        of = self.pictures + self.predicted
        return 2 * self.right / of if of else 0.0


def means(classes: Sequence[ClassFigures]) -> dict[str, float]:
    """Precision, recall and F1, each as the mean over the classes."""
    names = ("precision", "recall", "f1")
    number = len(classes) or 1
    return {name: sum(getattr(each, name) for each in classes) / number for name in names}


def classes(pictures: Sequence[Judged]) -> list[ClassFigures]:
    """Each class that is right for a picture or was predicted for one, by name."""
    truths = Counter(each.truth for each in pictures)
    predicted = Counter(each.label for each in pictures)
    right = Counter(each.label for each in pictures if each.is_right)
    return [
        ClassFigures(name, truths[name], predicted[name], right[name])
        for name in sorted(truths | predicted)
    ]


def confusion(pictures: Sequence[Judged]) -> Counter[tuple[str, str]]:
    """How many pictures of a class got a label, by class and label."""
    return Counter((each.truth, each.label) for each in pictures)


def worst_pairs(pictures: Sequence[Judged], number: int) -> list[tuple[str, str, int]]:
    """The most frequent confusions: class, label, number of pictures."""
    wrong = Counter((each.truth, each.label) for each in pictures if not each.is_right)
    return [(*pair, count) for pair, count in sorted(wrong.items(), key=_by_count)[:number]]


def _by_count(pair: tuple[tuple[str, str], int]) -> tuple[int, tuple[str, str]]:
    return -pair[1], pair[0]

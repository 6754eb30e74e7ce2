"""Confidence: how well the probabilities tell how often the labels are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .judged import Judged

_BINS = 15

#: A label with a lower probability would be left out.
_THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Bin:
    """Pictures whose probability is over `low`, and at most `high`."""

    low: float
    high: float
    pictures: int
    probability: float  #: The mean.
    right: float  #: The share of the pictures whose label is right.


@dataclass(frozen=True)
class Threshold:
    threshold: float
    answered: float  #: The share of all pictures that have a probability of at least `threshold`.
    right: float | None  #: The share of those whose label is right. None if there are none.


def bins(pictures: Sequence[Judged]) -> list[Bin]:
    """The bins that have pictures, of equal width."""
    groups: dict[int, list[Judged]] = {}
    for each in pictures:
        groups.setdefault(_bin_of(each.probability_of_name), []).append(each)
    return [
        Bin(
            number / _BINS,
            (number + 1) / _BINS,
            len(group),
            sum(each.probability_of_name for each in group) / len(group),
            sum(each.is_right for each in group) / len(group),
        )
        for number, group in sorted(groups.items())
    ]


def calibration_error(pictures: Sequence[Judged]) -> float:
    """The expected calibration error (Guo et al. 2017), from 0 to 1.

    It is the mean distance between the probability and the share of right labels, over all bins.
    """
    distances = (each.pictures * abs(each.probability - each.right) for each in bins(pictures))
    return sum(distances) / len(pictures) if pictures else 0.0


def thresholds(pictures: Sequence[Judged], min_score: float = 0) -> list[Threshold]:
    """What each threshold leaves, `min_score` among them. Those of the model do not count."""
    return [
        _left([each for each in pictures if each.probability >= threshold], pictures, threshold)
        for threshold in sorted({*_THRESHOLDS, min_score})
    ]


def labelled(pictures: Sequence[Judged], min_score: float) -> Threshold:
    """What `min_score` and the thresholds of the model leave together."""
    left = [each for each in pictures if each.has_label and each.probability >= min_score]
    return _left(left, pictures, min_score)


def _left(left: Sequence[Judged], pictures: Sequence[Judged], threshold: float) -> Threshold:
    return Threshold(
        threshold,
        len(left) / len(pictures) if pictures else 0.0,
        sum(each.is_right for each in left) / len(left) if left else None,
    )


def _bin_of(probability: float) -> int:
    number = min(int(probability * _BINS), _BINS - 1)
    return number - 1 if number and probability <= number / _BINS else number

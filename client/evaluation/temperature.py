"""Temperature scaling: one number that makes the probabilities of a model right on average.

The logits are divided by the temperature before softmax (Guo et al. 2017). The best temperature
makes the right labels most likely. A table has the ten best labels of a picture, so the likelihood
is that of the right label among these. It has the same best temperature, and needs no probability
of the other labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from .confidence import calibration_error
from .judged import Judged

#: Temperatures that are tried.
_LOWEST, _HIGHEST = 0.05, 20.0

#: The fit is as precise as this share of the temperature.
_PRECISION = 1e-4

#: A probability of 0 is a number too small for a float.
_LEAST = 1e-38

#: The probabilities of softmax are rounded.
_ROUNDED = 1e-3

_Z = NormalDist().inv_cdf(0.975)
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Temperature:
    """The two errors are among the labels of the table, with temperature 1 and with this one."""

    temperature: float
    low: float  #: The interval that has the true one in 95 of 100 cases.
    high: float
    pictures: int  #: Whose right label is in the table.
    error_before: float
    error_after: float

    @property
    def helps(self) -> bool:
        """Whether it is better. Too few pictures leave the interval without an end."""
        surely = self.high < _HIGHEST and not self.low <= 1 <= self.high
        return surely and self.error_after < self.error_before


@dataclass(frozen=True)
class _Scores:
    """The logits of a picture's labels, up to a constant, and which of these labels are right."""

    logits: tuple[float, ...]
    right: tuple[float, ...]


def fit(pictures: Sequence[Judged]) -> Temperature | None:
    """None if the probabilities are not those of softmax, or if no or all pictures are wrong."""
    if not all(is_softmax(each.probabilities) for each in pictures):
        return None
    told = [each for each in pictures if each.truth in each.labels and len(each.labels) > 1]
    if all(each.is_right for each in told):
        return None  # the lower the temperature, the better
    scores = list(map(_scores, told))
    temperature = math.exp(
        _minimum(lambda x: _loss(scores, math.exp(-x)), math.log(_LOWEST), math.log(_HIGHEST))
    )
    if not 1.01 * _LOWEST < temperature < 0.99 * _HIGHEST:
        return None
    half = _Z * _standard_error(scores, 1 / temperature)
    return Temperature(
        temperature,
        1 / (1 / temperature + half),
        1 / max(1 / temperature - half, 1 / _HIGHEST),
        len(told),
        calibration_error([_scaled(each, 1.0) for each in told]),
        calibration_error([_scaled(each, temperature) for each in told]),
    )


def is_softmax(probabilities: Sequence[float]) -> bool:
    """Whether softmax may have given them: they add up to 1, or less without other labels."""
    return min(probabilities) >= 0 and sum(probabilities) <= 1 + _ROUNDED


def _scores(picture: Judged) -> _Scores:
    logits = tuple(math.log(max(each, _LEAST)) for each in picture.probabilities)
    pairs = zip(picture.labels, logits, strict=True)
    return _Scores(logits, tuple(logit for label, logit in pairs if label == picture.truth))


def _loss(scores: Sequence[_Scores], factor: float) -> float:
    """The negative logarithm of the likelihood, if the logits are multiplied by `factor`."""
    return sum(_log_sum(each.logits, factor) - _log_sum(each.right, factor) for each in scores)


def _log_sum(logits: Sequence[float], factor: float) -> float:
    highest = max(logits)
    return factor * highest + math.log(sum(math.exp(factor * (each - highest)) for each in logits))


def _standard_error(scores: Sequence[_Scores], factor: float) -> float:
    """Of the factor, by the curvature of the loss."""
    curvature = sum(
        _variance(each.logits, factor) - _variance(each.right, factor) for each in scores
    )
    return 1 / math.sqrt(curvature) if curvature > 0 else math.inf


def _variance(logits: Sequence[float], factor: float) -> float:
    highest = max(logits)
    weights = [math.exp(factor * (each - highest)) for each in logits]
    total = sum(weights)
    mean = sum(w * each for w, each in zip(weights, logits, strict=True)) / total
    return sum(w * (each - mean) ** 2 for w, each in zip(weights, logits, strict=True)) / total


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Where the function is lowest, by golden-section search."""
    first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_first, at_second = function(first), function(second)
    while high - low > _PRECISION:
        if at_first < at_second:
            high, second, at_second = second, first, at_first
            first = high - _GOLDEN * (high - low)
            at_first = function(first)
        else:
            low, first, at_first = first, second, at_second
            second = low + _GOLDEN * (high - low)
            at_second = function(second)
    return (low + high) / 2


def _scaled(picture: Judged, temperature: float) -> Judged:
    """The picture with the probabilities of its labels at a temperature. They add up to 1."""
    logits = _scores(picture).logits
    total = _log_sum(logits, 1 / temperature)
    probabilities = tuple(math.exp(each / temperature - total) for each in logits)
    return replace(picture, probabilities=probabilities)

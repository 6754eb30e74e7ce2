"""Two models on the same pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .judged import Judged


@dataclass(frozen=True)
class Comparison:
    """Only pictures that have an answer of both models count."""

    both_right: int
    only_first: int
    only_second: int
    neither: int
    differences: tuple[tuple[Judged, Judged], ...]  #: Pictures that got different labels.

    @property
    def pictures(self) -> int:
        return self.both_right + self.only_first + self.only_second + self.neither

    @property
    def p_value(self) -> float:
        """Of McNemar's exact test: how often chance alone makes a difference at least as large."""
        number = self.only_first + self.only_second
        smaller = min(self.only_first, self.only_second)
        one_side = sum(_binomial(k, number) for k in range(smaller + 1))
        return min(1.0, 2 * one_side)


def compare(first: Sequence[Judged], second: Sequence[Judged]) -> Comparison:
    by_path = {each.path: each for each in second}
    pairs = [(each, by_path[each.path]) for each in first if each.path in by_path]
    right = [(one.is_right, other.is_right) for one, other in pairs]
    return Comparison(
        both_right=right.count((True, True)),
        only_first=right.count((True, False)),
        only_second=right.count((False, True)),
        neither=right.count((False, False)),
        differences=tuple(pair for pair in pairs if pair[0].label != pair[1].label),
    )


def _binomial(k: int, number: int) -> float:
    """The probability of k heads in so many throws of a fair coin."""
    logarithm = math.lgamma(number + 1) - math.lgamma(k + 1) - math.lgamma(number - k + 1)
    return math.exp(logarithm - number * math.log(2))

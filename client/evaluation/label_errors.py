"""Pictures whose own label is likely wrong.

This is confident learning (Northcutt et al. 2021), with the labels that the table has. The model is
usually less sure of one class than of another. So each class has a threshold: the mean probability
that its own pictures give it. A picture with the right answer is never suspected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .judged import Judged


@dataclass(frozen=True)
class Suspect:
    picture: Judged
    label: str  #: What the picture likely shows.
    margin: float  #: The probability of `label` less that of the picture's own label.


def suspects(pictures: Sequence[Judged]) -> list[Suspect]:
    """The likely label errors, the most likely first."""
    own: defaultdict[str, list[float]] = defaultdict(list)
    for each in pictures:
        own[each.truth].append(each.probability_of(each.truth))
    threshold = {name: sum(values) / len(values) for name, values in own.items()}
    return sorted(
        (suspect for each in pictures if (suspect := _suspect(each, threshold))),
        key=lambda suspect: (-suspect.margin, suspect.picture.path),
    )


def _suspect(picture: Judged, threshold: dict[str, float]) -> Suspect | None:
    if picture.is_right:
        return None
    confident = [
        (probability, label)
        for label, probability in zip(picture.labels, picture.probabilities, strict=True)
        if label in threshold and probability >= threshold[label]
    ]
    if not confident:
        return None
    probability, label = max(confident, key=lambda pair: pair[0])
    if label == picture.truth:
        return None
    return Suspect(picture, label, probability - picture.probability_of(picture.truth))

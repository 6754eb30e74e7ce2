"""Pictures that may have several right labels, or none, and the labels that reach their thresholds.

All figures count labels: a label may be right, wrong or missing. They are those that scikit-learn
computes of two tables with a column for each class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from . import accuracy
from .accuracy import ClassFigures, Share
from .answers import Answer
from .figures import share_figures
from .temperature import is_softmax
from .truth import Names, Truth

_VERSION = 1

#: The labels that a table has of a picture.
_MOST_LABELS = 10


@dataclass(frozen=True)
class Labelled:
    """A picture with its right labels and the labels that it got. All are names of the truth."""

    path: str
    truth: frozenset[str]
    given: frozenset[str]

    @property
    def wrong(self) -> frozenset[str]:
        return self.given - self.truth

    @property
    def missing(self) -> frozenset[str]:
        return self.truth - self.given


@dataclass
class LabelledPictures:
    labelled: list[Labelled] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  #: Paths. They have no answer.
    missing: list[str] = field(default_factory=list)  #: Paths that the table does not have.
    #: No picture got more, and the scores of each one are those of softmax.
    one_label_at_most: bool = True
    full: int = 0  #: Pictures that got as many labels as a table has. They may have more.
    model_versions: set[str] = field(default_factory=set)


def judge(
    truth: Truth, answers: Mapping[str, Answer], names: Names, *, min_score: float = 0
) -> LabelledPictures:
    """Pair the right labels of each picture with those that reach their thresholds."""
    pictures = LabelledPictures()
    for path, right in truth.names.items():
        answer = answers.get(path)
        if answer is None:
            pictures.missing.append(path)
        elif not answer.labels:
            pictures.failed.append(path)
        else:
            reaching = answer.reaching
            pairs = zip(answer.labels[:reaching], answer.probabilities[:reaching], strict=True)
            given = [names.name_of(label) for label, score in pairs if score >= min_score]
            pictures.labelled.append(Labelled(path, frozenset(right), frozenset(given)))
            pictures.one_label_at_most &= is_softmax(answer.probabilities) and reaching <= 1
            pictures.full += len(given) >= _MOST_LABELS
            pictures.model_versions |= {answer.model_version} - {None}  # type: ignore[arg-type]
    return pictures


def classes(pictures: Sequence[Labelled]) -> list[ClassFigures]:
    """Each class that is right for a picture or was given to one, by name."""
    truths = Counter(name for each in pictures for name in each.truth)
    given = Counter(name for each in pictures for name in each.given)
    right = Counter(name for each in pictures for name in each.truth & each.given)
    return [
        ClassFigures(name, truths[name], given[name], right[name])
        for name in sorted(truths | given)
    ]


def figures(pictures: LabelledPictures) -> dict[str, Any]:
    labelled = pictures.labelled
    of_classes = classes(labelled)
    whole = ClassFigures(
        "",
        sum(each.pictures for each in of_classes),
        sum(each.predicted for each in of_classes),
        sum(each.right for each in of_classes),
    )
    exact = Share(sum(each.truth == each.given for each in labelled), len(labelled))
    return {
        "version": _VERSION,
        "model_versions": sorted(pictures.model_versions),
        "pictures": len(labelled),
        "failed": len(pictures.failed),
        "missing": len(pictures.missing),
        "full": pictures.full,
        "one_label_at_most": pictures.one_label_at_most,
        "exact": share_figures(exact),
        "micro": accuracy.means([whole]),
        "macro": accuracy.means(of_classes),
        "classes": [asdict(each) for each in of_classes],
    }

"""Pictures with their right labels and the answers for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .answers import Answer
from .truth import Names, Truth

#: Among so many labels top-5 looks.
_FIVE = 5


@dataclass(frozen=True)
class Judged:
    """A picture that has a right label and an answer. All labels are names of the truth."""

    path: str
    truth: str
    labels: tuple[str, ...]  #: Most probable first.
    probabilities: tuple[float, ...]
    has_label: bool = True  #: Whether a label reaches the thresholds of the model.

    @property
    def label(self) -> str:
        return self.labels[0]

    @property
    def probability(self) -> float:
        return self.probabilities[0]

    @property
    def probability_of_name(self) -> float:
        """That of all labels with the name of the most probable one."""
        pairs = zip(self.labels, self.probabilities, strict=True)
        return min(1.0, sum(each for label, each in pairs if label == self.label))

    @property
    def is_right(self) -> bool:
        return self.label == self.truth

    @property
    def is_in_five(self) -> bool:
        return self.truth in self.labels[:_FIVE]

    def probability_of(self, name: str) -> float:
        """0 if the name is not among the labels."""
        pairs = zip(self.labels, self.probabilities, strict=True)
        return next((probability for label, probability in pairs if label == name), 0.0)


@dataclass
class Pictures:
    judged: list[Judged] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  #: Paths. They have a label and no answer.
    missing: list[str] = field(default_factory=list)  #: Paths that the table does not have.
    model_versions: set[str] = field(default_factory=set)


def judge(truth: Truth, answers: Mapping[str, Answer], names: Names) -> Pictures:
    """Pair each right label with its answer."""
    pictures = Pictures()
    for path, [name] in truth.names.items():
        answer = answers.get(path)
        if answer is None:
            pictures.missing.append(path)
        elif not answer.labels:
            pictures.failed.append(path)
        else:
            labels = tuple(map(names.name_of, answer.labels))
            pictures.judged.append(
                Judged(path, name, labels, answer.probabilities, answer.has_label)
            )
            pictures.model_versions |= {answer.model_version} - {None}  # type: ignore[arg-type]
    return pictures

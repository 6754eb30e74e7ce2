"""The description of a loaded model: name, version, weights, labels and preprocessing."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from shared.errors import ModelError
from shared.settings import Settings
from shared.sizes import count_text
from workers.decode.preprocessing import PREPROCESSING_VERSION, Preset
from workers.engine.labels import read_labels
from workers.engine.weights.weights_file import Description


@dataclass(frozen=True, kw_only=True)
class Model:
    name: str  #: torchvision's name, with the variant of its weights if they have one.
    version: str  #: Differs if results may differ. It is part of the key of cached results.
    weights: str  #: MODEL_WEIGHTS; of a file only its name.
    weights_digest: str  #: SHA-256, hex.
    labels: tuple[str, ...]  #: By class id.
    preset: Preset
    notice: str = ""  #: A warning for users of the results; mostly empty.
    activation: str = "softmax"  #: What made the scores: `softmax`, `sigmoid` or `none`.
    several: bool = False  #: Whether a picture may have several labels, or none.
    #: The score that a label needs, by class id. Empty: the most probable label is always given.
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0  #: The logits were divided by it. The graph does that.
    embedding: int = 0  #: Numbers of the embedding that it can give of a picture; 0: it has none.

    @property
    def usual_threshold(self) -> float | None:
        """The most frequent one; None if there are no thresholds."""
        return Counter(self.thresholds).most_common(1)[0][0] if self.thresholds else None

    @property
    def other_thresholds(self) -> dict[str, float]:
        """Those that differ from it, by label."""
        usual = self.usual_threshold
        pairs = zip(self.labels, self.thresholds, strict=False)
        return {label: threshold for label, threshold in pairs if threshold != usual}


def weights_version(model: str, weights_digest: str, *, variant: str = "") -> str:
    """The version of a model with the labels of its weights.

    It contains the first word of the variant, for instance `random` for random weights.
    """
    origin = "".join(f"-{word}" for word in variant.split()[:1])
    return f"{model}{origin}-{weights_digest[:12]}-p{PREPROCESSING_VERSION}"


def architecture(settings: Settings, in_file: Description | None) -> str:
    """The architecture that the weights file names, else MODEL. Raises ModelError on conflict."""
    named, default = in_file.architecture if in_file else "", Settings.model_fields["model"].default
    if named and settings.model not in (named, default):
        raise ModelError(
            f"MODEL_WEIGHTS={settings.model_weights} is a {named}, not MODEL={settings.model}"
        )
    return named or settings.model


def describe(
    settings: Settings, name: str, described: Description, digest: str, *, classes: int
) -> Model:
    """The model that has the architecture `name` and weights with this digest.

    The weights bring the labels. MODEL_LABELS is used only if they bring none for their `classes`.
    Raises ModelError if labels are missing.
    """
    variant = f" ({described.variant})" if described.variant else ""
    model = Model(
        name=f"{name}{variant}",
        version=weights_version(name, digest, variant=described.variant),
        weights=Path(settings.model_weights).name,
        weights_digest=digest,
        labels=described.labels,
        preset=described.preset,
        notice=described.notice,
    )
    if len(model.labels) == classes:
        return model
    if settings.model_labels is None:
        raise ModelError(
            f"The weights have {classes} classes, and the number of labels is {len(model.labels)}. "
            "Set MODEL_LABELS to a file with one label per line."
        )
    return relabelled(model, settings.model_labels, classes=classes)


def in_precision(model: Model, precision: str) -> Model:
    """The same model with the precision in its version. fp32 leaves the version as it is.

    Call it after `relabelled`. Results of unlike precisions differ, so caches must not mix them.
    """
    if precision == "fp32":
        return model
    return replace(model, version=f"{model.version}-{precision}")


def relabelled(model: Model, labels: Path, *, classes: int) -> Model:
    """The same model with labels from a file, which become part of its version.

    Raises ModelError if the file is unusable or does not have one label for each class.
    """
    names = read_labels(labels)
    if len(names) != classes:
        raise ModelError(
            f"MODEL_LABELS: {labels} has {count_text(len(names), 'label')}, "
            f"but {model.name} has {classes} classes"
        )
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    # No other part of a version starts with `l`, so a second relabelling replaces the first.
    own = model.version.partition("-l")[0]
    return replace(model, labels=names, version=f"{own}-l{digest[:8]}")

"""What is loaded: a model by name, version and weights, and how it wants its pictures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from shared.errors import ModelError
from workers.engine.labels import read_labels
from workers.decode.preprocessing import PREPROCESSING_VERSION, Preset


@dataclass(frozen=True, kw_only=True)
class Model:
    name: str  #: torchvision's, and the weights' variant where they are not the usual ones.
    version: str  #: Changes with whatever would change a result: results are cached by it.
    weights: str  #: What was asked for: a file's name without its folder, or MODEL_WEIGHTS' word.
    weights_digest: str  #: SHA-256, hex.
    labels: tuple[str, ...]  #: By class id.
    preset: Preset
    notice: str = ""  #: What whoever reads its answers should know; mostly empty.


def weights_version(model: str, weights_digest: str, *, variant: str = "") -> str:
    """The version of a model with the labels that its weights bring.

    A variant is in it by its first word: `random` of random weights.
    """
    origin = "".join(f"-{word}" for word in variant.split()[:1])
    return f"{model}{origin}-{weights_digest[:12]}-p{PREPROCESSING_VERSION}"


def relabelled(model: Model, labels: Path, *, classes: int) -> Model:
    """The same model with labels from a file; they become part of its version.

    Raises ModelError where the file is unusable or has not one label for each class.
    """
    names = read_labels(labels)
    if len(names) != classes:
        raise ModelError(
            f"MODEL_LABELS: {labels} has {len(names)} labels, {model.name} {classes} classes"
        )
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    # Nothing else in a version starts with an l: a second relabelling replaces the first.
    own = model.version.partition("-l")[0]
    return replace(model, labels=names, version=f"{own}-l{digest[:8]}")

"""The description of a loaded model: name, version, weights, labels and preprocessing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from shared.errors import ModelError
from workers.engine.labels import read_labels
from workers.decode.preprocessing import PREPROCESSING_VERSION, Preset


@dataclass(frozen=True, kw_only=True)
class Model:
    name: str  #: torchvision's name, with the variant of its weights if they have one.
    version: str  #: Differs if results may differ. It is part of the key of cached results.
    weights: str  #: MODEL_WEIGHTS; of a file only its name.
    weights_digest: str  #: SHA-256, hex.
    labels: tuple[str, ...]  #: By class id.
    preset: Preset
    notice: str = ""  #: A warning for users of the results; mostly empty.


def weights_version(model: str, weights_digest: str, *, variant: str = "") -> str:
    """The version of a model with the labels of its weights.

    It contains the first word of the variant, for instance `random` for random weights.
    """
    origin = "".join(f"-{word}" for word in variant.split()[:1])
    return f"{model}{origin}-{weights_digest[:12]}-p{PREPROCESSING_VERSION}"


def relabelled(model: Model, labels: Path, *, classes: int) -> Model:
    """The same model with labels from a file, which become part of its version.

    Raises ModelError if the file is unusable or does not have one label for each class.
    """
    names = read_labels(labels)
    if len(names) != classes:
        raise ModelError(
            f"MODEL_LABELS: {labels} has {len(names)} labels, "
            f"but {model.name} has {classes} classes"
        )
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    # No other part of a version starts with `l`, so a second relabelling replaces the first.
    own = model.version.partition("-l")[0]
    return replace(model, labels=names, version=f"{own}-l{digest[:8]}")

"""Checks that a worker of this machine can start with a package, whatever engine it chooses."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import ModelError
from shared.settings import Settings
from workers.engine import load_engine

#: The settings ENGINE and PRECISION. A worker with `auto` may compute in bf16.
_CHOICES = (("openvino", "fp32"), ("auto", "auto"))


def check_engines(folder: Path) -> None:
    """Load the package as workers do. The check with ONNX Runtime is done already.

    Raises ModelError if an installed engine gives the golden pictures other scores.
    """
    if find_spec("openvino") is None:
        return
    for engine, precision in _CHOICES:
        changes: dict[str, Any] = {"engine": engine, "precision": precision}
        changes |= {"model": str(folder.absolute()), "model_weights": "DEFAULT"}
        changes |= {"model_labels": None}
        try:
            load_engine(Settings().model_copy(update=changes))
        except ModelError as error:
            raise ModelError(
                f"A worker with ENGINE={engine} and PRECISION={precision} would not start on this"
                f" machine. {error} If the file has weights in float16, export it in float32."
            ) from error

"""A package that tests add in a folder of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.workers.models.onnx_models import LABELS, write_model
from workers.models.__main__ import main

PACKAGE = Path("data/models/packages/pets")


def add_pets(*options: str, **file: Any) -> int:
    """Add a file that `write_model` makes of `file`; the exit status of the command."""
    write_model(Path("pets.onnx"), **file)
    Path("labels.txt").write_text("\n".join(LABELS))
    command = ["add", "pets", "pets.onnx", "--labels", "labels.txt", "--preset", "imagenet"]
    return main([*command, "--activation", "softmax", "--interpolation", "bilinear", *options])

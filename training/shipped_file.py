"""The shipped file: weights in half precision, and everything that is needed to use them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from shared.settings import Settings
from training.pictures import Labelled
from workers.decode.preprocessing import decode
from workers.engine import load_engine
from workers.engine.export import export
from workers.engine.torchvision_model import State
from workers.engine.weights.weights_file import DESCRIPTION_ENTRY, Description

_BATCH = 32
_MAX_PIXELS = 10**8


def write(path: Path, state: State, description: Description, facts: Mapping[str, str]) -> None:
    """Write weights as float16 in one step, with `facts` for human readers in the metadata."""
    shipped = {name: _half(tensor) for name, tensor in state.items()}
    entry = TypeAdapter(Description).dump_json(description).decode()
    metadata = {"format": "pt", DESCRIPTION_ENTRY: entry, "digest": digest(shipped), **facts}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(shipped, partial, metadata)
    partial.chmod(0o644)  # save_file makes it readable for its owner only.
    os.replace(partial, path)


def digest(state: State) -> str:
    """SHA-256 of the tensors by name, hex. The file can contain it, unlike its own digest."""
    sha = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        sha.update(name.encode())
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


def measured_accuracy(weights: Path, model: str, pictures: list[Labelled], folder: Path) -> float:
    """The share of pictures that get the right label with the service's decoder and CPU engine.

    The export is written to `folder`. Raises ModelError if the weights cannot be exported.
    """
    settings = Settings(
        model=model,
        model_weights=str(weights),
        model_labels=None,
        engine="onnxruntime",
        data_dir=folder,
    )
    export(settings)
    engine = load_engine(settings)
    right = 0
    for first in range(0, len(pictures), _BATCH):
        batch = pictures[first : first + _BATCH]
        preset = engine.model.preset
        pixels = np.stack([decode(p.content, preset, max_pixels=_MAX_PIXELS) for p in batch])
        best = engine.predict(pixels).argmax(axis=1)
        right += sum(engine.model.labels[i] == p.label for i, p in zip(best, batch, strict=True))
    return right / len(pictures)


def _half(tensor: torch.Tensor) -> torch.Tensor:
    # Vectors are small, and half precision may round a variance among them to zero.
    return tensor.half().contiguous() if tensor.ndim > 1 else tensor.contiguous()

"""Weights on disk: a state dict, read without running any code that the file carries."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from shared.errors import ModelError

State = dict[str, torch.Tensor]


def read_state(path: Path) -> State:
    """A model's state dict, from `.safetensors` or from what torch.save wrote, on the CPU.

    Raises ModelError where the file cannot be read or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
        EOFError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        raise ModelError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{path} holds no plain state dict (names to tensors)")
    return {_current_name(name): tensor for name, tensor in state.items()}


def _current_name(name: str) -> str:
    """torchvision's own DenseNet files still carry names that torch no longer allows."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)

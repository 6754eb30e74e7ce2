"""Weights on disk: a state dict, read without running any code that the file carries.

A `.safetensors` file may also say what the weights need to be used, in its metadata.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from shared.errors import ModelError
from workers.decode.preprocessing import Preset

State = dict[str, torch.Tensor]

#: The metadata entry that holds a Description, as JSON.
DESCRIPTION_ENTRY = "classifier"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What weights bring besides their numbers."""

    variant: str  #: In a few words, for the model's name; empty for the usual weights.
    notice: str  #: What whoever reads their answers should know; mostly empty.
    labels: tuple[str, ...]  #: By class id.
    preset: Preset
    #: Side in pixels to which the network enlarges what it is given, if at all: one that learnt
    #: from enlarged pictures mistakes detail for something it knows.
    enlarged_size: int | None = None
    #: torchvision's name of the network that they are of; empty: what MODEL says.
    architecture: str = ""


def read_description(path: Path) -> Description | None:
    """What a weights file says of itself; None where it says nothing.

    Raises ModelError where the file cannot be read or says it in another form.
    """
    if path.suffix != ".safetensors":
        return None
    with _reading(path), safe_open(path, framework="pt") as file:
        entry = (file.metadata() or {}).get(DESCRIPTION_ENTRY)
        return entry and TypeAdapter(Description).validate_json(entry)


def read_state(path: Path) -> State:
    """A model's state dict, from `.safetensors` or from what torch.save wrote, on the CPU.

    Raises ModelError where the file cannot be read or holds something else.
    """
    with _reading(path):
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{path} holds no plain state dict (names to tensors)")
    return {_current_name(name): tensor for name, tensor in state.items()}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
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


def _current_name(name: str) -> str:
    """torchvision's own DenseNet files still carry names that torch no longer allows."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)

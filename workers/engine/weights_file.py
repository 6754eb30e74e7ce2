"""A weights file: a state dict, read without running code from the file.

The metadata of a `.safetensors` file may also describe how to use the weights.
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

#: The entry of the metadata that holds a Description, as JSON.
DESCRIPTION_ENTRY = "classifier"


@dataclass(frozen=True, kw_only=True)
class Description:
    """How to use weights."""

    variant: str  #: A few words for the model's name; empty for torchvision's weights.
    notice: str  #: A warning for users of the results; mostly empty.
    labels: tuple[str, ...]  #: By class id.
    preset: Preset
    #: Side in pixels to which the network enlarges a picture, or None. Finer detail misleads a
    #: network that was trained on enlarged pictures.
    enlarged_size: int | None = None
    #: torchvision's name of the network; empty if MODEL names it.
    architecture: str = ""


def read_description(path: Path) -> Description | None:
    """The description in a weights file; None if it has none.

    Raises ModelError if the file cannot be read or the description is malformed.
    """
    if path.suffix != ".safetensors":
        return None
    with _reading(path), safe_open(path, framework="pt") as file:
        entry = (file.metadata() or {}).get(DESCRIPTION_ENTRY)
        return entry and TypeAdapter(Description).validate_json(entry)


def read_state(path: Path) -> State:
    """A model's state dict on the CPU, from a `.safetensors` file or one by torch.save.

    Raises ModelError if the file cannot be read or holds something else.
    """
    with _reading(path):
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{path} holds no plain state dict of names and tensors")
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
    """torchvision's DenseNet files still use names that torch no longer allows."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)

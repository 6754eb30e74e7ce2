"""A weights file: a state dict, read without running code from the file.

The metadata of a `.safetensors` file may also describe how to use the weights.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from safetensors import SafetensorError, deserialize, safe_open

from shared.errors import ModelError
from workers.decode.preprocessing import Preset
from workers.engine.weights.pth_file import Arrays, bfloat16, read_pth

#: The entry of the metadata that holds a Description, as JSON.
DESCRIPTION_ENTRY = "classifier"

#: The types of a .safetensors file and their types in numpy, which has no bfloat16.
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}


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
    with reading(path), safe_open(path, framework="np") as file:
        entry = (file.metadata() or {}).get(DESCRIPTION_ENTRY)
        return entry and TypeAdapter(Description).validate_json(entry)


def read_arrays(path: Path) -> Arrays:
    """A model's state dict, from a `.safetensors` file or one by torch.save.

    Raises ModelError if the file cannot be read or holds something else.
    """
    with reading(path):
        return _read_safetensors(path) if path.suffix == ".safetensors" else read_pth(path)


def _read_safetensors(path: Path) -> Arrays:
    arrays: Arrays = {}
    tensors = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    for name, tensor in tensors:
        kind, numbers = tensor["dtype"], tensor["data"]
        array = bfloat16(numbers) if kind == "BF16" else np.frombuffer(numbers, _TYPES[kind])
        arrays[name] = array.reshape(tensor["shape"])
    return arrays


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors in the block become ModelErrors that name the file."""
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

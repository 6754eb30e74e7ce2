"""Finds the weights of a network in a checkpoint of another program."""

from __future__ import annotations

import pickle
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from shared.errors import ModelError
from workers.models.files.head import refuse_no_checkpoint, refuse_pointer

State = dict[str, torch.Tensor]

#: Where training programs put the weights in a checkpoint.
_ENTRIES = ("state_dict", "model_state_dict", "model", "weights", "net", "network")


def read_checkpoint(path: Path) -> State:
    """All tensors of a checkpoint by name. No code of the file is run.

    Raises ModelError if the file cannot be read, or holds no weights by name.
    """
    try:
        if path.suffix == ".safetensors":
            refuse_pointer(path)
            tensors: State = load_file(path)
            return tensors
        refuse_no_checkpoint(path)
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} holds Python objects beside the weights, perhaps a whole model. They are not"
            " loaded, because loading them runs code. Save the weights alone, where the model was"
            " trained: torch.save(model.state_dict(), 'weights.pt')."
        ) from error
    except Exception as error:  # torch's reader raises all kinds for a file that is something else
        raise ModelError(f"{path} cannot be read as weights: {_reason(error)}") from error
    state = _state_in(content)
    if state is None:
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ModelError(
            f"{path} has no weights by name. It has {textwrap.shorten(str(found), 200)}; the"
            f" weights may also be in an entry {', '.join(_ENTRIES)}."
        )
    return state


def _reason(error: Exception) -> str:
    """torch explains at length, and advises to run the code of the file."""
    if "TorchScript" in str(error):
        return (
            "it is a TorchScript program. Save the weights alone, where the model was trained:"
            " torch.save(model.state_dict(), 'weights.pt'). Or export the model as ONNX."
        )
    if "zip archive" in str(error) or "unexpected EOF" in str(error) or not str(error):
        return "it is damaged, or not complete."
    first = str(error).partition(". ")[0]
    return textwrap.shorten(first, 200) + "."


def _state_in(content: Any) -> State | None:
    if not isinstance(content, dict):
        return None
    for entry in _ENTRIES:
        if isinstance(content.get(entry), dict):
            return _state_in(content[entry])
    tensors = {name: each for name, each in content.items() if isinstance(each, torch.Tensor)}
    return tensors if tensors and all(isinstance(name, str) for name in tensors) else None


def load_into(network: nn.Module, state: State, path: Path, architecture: str) -> int:
    """Load a checkpoint into a network, and replace its head where the checkpoint has another one.

    Names may have a prefix, as DistributedDataParallel and Lightning put it. Returns the number of
    classes. Raises ModelError if the weights are those of another network.
    """
    head = list(network.state_dict())[-1].rpartition(".")[0]
    backbone = [name for name in _weights(network) if not name.startswith(head.split(".")[0])]
    prefix = _prefix(state, backbone, path, architecture)
    state = {name[len(prefix) :]: each for name, each in state.items() if name.startswith(prefix)}
    classes = _fit_head(network, head, state, path)
    expected = network.state_dict()
    missing = [name for name in _weights(network) if name not in state]
    wrong = [
        f"{name} has the shape {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if missing or wrong:
        reason = wrong[0] if wrong else f"they have no {missing[0]}"
        raise ModelError(f"The weights in {path} are not those of {architecture}: {reason}.")
    network.load_state_dict({name: state.get(name, each) for name, each in expected.items()})
    return classes


def _prefix(state: State, backbone: list[str], path: Path, architecture: str) -> str:
    """What stands in front of the names of the network's own weights."""
    first = backbone[0]
    prefixes = [name[: -len(first)] for name in state if name.endswith(first)]
    for prefix in prefixes:
        if all(prefix + name in state for name in backbone):
            return prefix
    if reason := _nearly(state, backbone, prefixes):
        raise ModelError(f"The weights in {path} are not those of {architecture}: {reason}.")
    found = textwrap.shorten(", ".join(list(state)[:6]), 200)
    wanted = textwrap.shorten(", ".join(backbone[:3]), 120)
    raise ModelError(
        f"The weights in {path} are not those of {architecture}. They are {found}, …;"
        f" expected are {wanted}, …."
    )


def _nearly(state: State, backbone: list[str], prefixes: list[str]) -> str:
    """What is missing, if most names are there, as in a smaller network of the same family."""
    for prefix in prefixes:
        missing = [name for name in backbone if prefix + name not in state]
        if 2 * len(missing) < len(backbone):
            return f"they have no {missing[0]}"
    return ""


def _fit_head(network: nn.Module, head: str, state: State, path: Path) -> int:
    """Give the network a last layer of the checkpoint's size. Returns the number of classes."""
    if f"{head}.weight" in state:
        where, weight = head, f"{head}.weight"
    else:
        where, weight = _replaced_head(network, head, state, path)
        # A layer without weights, such as Dropout, may stand in front of it.
        inner = weight.removesuffix("weight")
        for name in (f"{inner}weight", f"{inner}bias"):
            if name in state:
                state[f"{where}.{name.rpartition('.')[2]}"] = state.pop(name)
        weight = f"{where}.weight"
    shape, has_bias = state[weight].shape, f"{where}.bias" in state
    parent, _, last = where.rpartition(".")
    layer: nn.Module
    if len(shape) == 4:
        layer = nn.Conv2d(shape[1], shape[0], (shape[2], shape[3]), bias=has_bias)
    else:
        layer = nn.Linear(shape[1], shape[0], bias=has_bias)
    setattr(network.get_submodule(parent), last, layer)
    return int(shape[0])


def _replaced_head(network: nn.Module, head: str, state: State, path: Path) -> tuple[str, str]:
    """The module that the checkpoint's last layer replaces, and the name of its weight."""
    for where in _outwards(head):
        layers = [
            name
            for name, tensor in state.items()
            if name.startswith(f"{where}.") and name.endswith("weight") and tensor.ndim in (2, 4)
        ]
        if len(layers) == 1:
            return where, layers[0]
        if len(layers) > 1:
            raise ModelError(
                f"The head {where} in {path} has {len(layers)} layers ({', '.join(layers)}), and"
                " nothing says what is between them. Export the model as ONNX where it was trained."
            )
    raise ModelError(f"The weights in {path} have no last layer: no {head}.weight.")


def _outwards(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _weights(network: nn.Module) -> list[str]:
    """The names that a checkpoint must have. Counters of batches are not needed."""
    return [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]

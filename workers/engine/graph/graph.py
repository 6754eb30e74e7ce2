"""The shipped graphs.

A graph is an ONNX file without weights, input and output. A JSON file describes the weights.
`write_graphs.py` makes both with torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from workers.engine.weights.weights_file import Description

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the weights of an architecture are like."""

    url: str  #: Of torchvision's file.
    description: Description  #: Of torchvision's file.
    #: The shape of each tensor by its name in the state dict, without counters. The last module is
    #: the head: its first dimension is the number of classes, which may be another one.
    shapes: dict[str, tuple[int, ...]]

    @property
    def head(self) -> str:
        """The name of the head's bias: one number for each class."""
        return list(self.shapes)[-1]

    def is_in_head(self, name: str) -> bool:
        return name.rpartition(".")[0] == self.head.rpartition(".")[0]


def graph_file(architecture: str, enlarged_size: int | None) -> Path:
    """The graph of an architecture that enlarges pictures to a side first. It may not exist."""
    enlarged = f"-{enlarged_size}" if enlarged_size else ""
    return _FOLDER / f"{architecture}{enlarged}.onnx"


def weights_of(architecture: str) -> Weights | None:
    """The description of the weights; None if no graph of the architecture is shipped."""
    path = _weights_file(architecture)
    # The name may come from a weights file, and then it may be any path.
    if path not in _FOLDER.glob("*.json"):
        return None
    return TypeAdapter(Weights).validate_json(path.read_bytes())


def write_weights(architecture: str, weights: Weights) -> None:
    _weights_file(architecture).write_bytes(
        TypeAdapter(Weights).dump_json(weights, indent=1) + b"\n"
    )


def _weights_file(architecture: str) -> Path:
    return _FOLDER / f"{architecture}.json"

"""Makes an export of a shipped graph and the weights, without torch."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from shared.errors import ModelError, TorchNeeded
from shared.settings import Settings
from workers.decode.preprocessing import Preset
from workers.engine.export_file import export_path, file_digest, weights_file, weights_source
from workers.engine.graph.graph import Weights, graph_file, weights_of
from workers.engine.graph.protobuf import FLOAT, UINT8, field, integer, value_info
from workers.engine.model import Model, architecture, describe
from workers.engine.onnx_engine import MODEL_ENTRY, OnnxEngine
from workers.engine.weights.download import download
from workers.engine.weights.pth_file import Arrays, has_old_format
from workers.engine.weights.weights_file import read_arrays, read_description

#: What torch adds to the state dict of a network, and no graph needs.
_COUNTER = ".num_batches_tracked"

# Numbers of fields in onnx.proto.
_GRAPH, _METADATA = 7, 14
_INITIALISER, _INPUT, _OUTPUT = 5, 11, 12
_SHAPE, _TYPE, _NAME, _NUMBERS = 1, 2, 8, 9


def write_export(settings: Settings) -> Path:
    """Make the export, try it, and then give the file its name.

    The caller holds the lock. Raises TorchNeeded if there is no graph for the settings, and
    ModelError if the weights cannot be loaded or do not fit, or labels are missing.
    """
    if weights_source(settings) == "random":
        raise TorchNeeded("MODEL_WEIGHTS=random")
    path = weights_file(settings)
    in_file = read_description(path) if path else None
    name = architecture(settings, in_file)
    weights = weights_of(name)
    described = in_file or (weights and weights.description)
    if not weights or not described or not graph_file(name, described.enlarged_size).exists():
        raise TorchNeeded(f"MODEL={name}")
    path = path or download(weights.url, settings)
    arrays = _read(path)
    reason = _misfit(weights, arrays)
    if reason:
        raise ModelError(f"The weights in {path} do not fit MODEL={name}: {reason}")
    classes = len(arrays[weights.head])
    model = describe(settings, name, described, file_digest(path), classes=classes)
    initialisers = {name: arrays[name] for name in weights.shapes} | normalisation(model.preset)
    graph = graph_file(name, described.enlarged_size).read_bytes()
    return _store(graph + _filling(initialisers, model), settings, model)


def normalisation(preset: Preset) -> Arrays:
    """The factor and the summand that each channel of a picture is normalised with."""
    mean, std = (np.array(each, np.float32).reshape(3, 1, 1) for each in (preset.mean, preset.std))
    return {"scale": 1 / (255 * std), "shift": -mean / std}


def _read(path: Path) -> Arrays:
    if path.suffix != ".safetensors" and has_old_format(path):
        raise TorchNeeded(f"{path.name}, a file of PyTorch 1.5 or older,")
    return read_arrays(path)


def _misfit(weights: Weights, arrays: Arrays) -> str:
    """Why the arrays are not the weights of the graph; empty if they are."""
    names = {name for name in arrays if not name.endswith(_COUNTER)}
    missing, unknown = weights.shapes.keys() - names, names - weights.shapes.keys()
    if missing or unknown:
        what, some = ("no", missing) if missing else ("an unknown", unknown)
        return f"they have {what} {textwrap.shorten(', '.join(sorted(some)), 200)}"
    classes = arrays[weights.head].shape
    for name, expected in weights.shapes.items():
        shape = (*classes, *expected[1:]) if weights.is_in_head(name) else expected
        if arrays[name].shape != shape:
            return f"{name} has the shape {arrays[name].shape}, not {shape}"
    return ""


def _filling(initialisers: Arrays, model: Model) -> bytes:
    """What makes a graph complete. It is appended: protobuf adds up what a message has twice.

    With the exact sizes ONNX Runtime joins more steps, which saves 5% of the time.
    """
    tensors = [field(_INITIALISER, _tensor(name, array)) for name, array in initialisers.items()]
    side, classes = model.preset.crop_size, len(model.labels)
    ends = [
        field(_INPUT, value_info("pixels", UINT8, ["n", side, side, 3])),
        field(_OUTPUT, value_info("probabilities", FLOAT, ["n", classes])),
    ]
    entry = field(1, MODEL_ENTRY.encode()) + field(2, TypeAdapter(Model).dump_json(model))
    return field(_GRAPH, b"".join([*ends, *tensors])) + field(_METADATA, entry)


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    shape = b"".join(integer(_SHAPE, size) for size in array.shape)
    numbers = np.ascontiguousarray(array, "<f4").tobytes()
    return shape + integer(_TYPE, FLOAT) + field(_NAME, name.encode()) + field(_NUMBERS, numbers)


def _store(content: bytes, settings: Settings, model: Model) -> Path:
    path = export_path(settings, model.weights_digest)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _try(OnnxEngine.load(partial, settings.model_labels))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _try(engine: OnnxEngine) -> None:
    side = engine.model.preset.crop_size
    noise = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    sums = engine.predict(noise).sum(axis=1)
    if not np.allclose(sums, 1, atol=1e-3):  # Also if a weight is infinite or no number.
        raise ModelError(f"{engine.model.name} gives no probabilities: they add up to {sums}")

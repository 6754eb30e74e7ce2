"""Exports a torchvision model to one ONNX file. A worker needs no other file."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from pydantic import TypeAdapter

from shared.errors import ModelError
from shared.settings import Settings
from workers.engine import torchvision_model
from workers.engine.export_file import export_path
from workers.engine.model import Model
from workers.engine.onnx_engine import MODEL_ENTRY, OnnxEngine
from workers.engine.torchvision_model import Classifier

#: Largest accepted difference in probability. Rounding makes about a millionth.
_TOLERANCE = 1e-3

_LARGEST_BYTES = 2**31  # protobuf's limit for a file.


def write_export(settings: Settings) -> Path:
    """Export, compare with torch, and then give the file its name.

    The caller holds the lock. Raises ModelError if the model cannot be loaded, is too large for an
    ONNX file, or gives other results than torch.
    """
    classifier, model = torchvision_model.load(settings)
    path = export_path(settings, model.weights_digest)
    partial = path.with_name(f".{path.name}.partial")
    try:
        _trace(classifier, model, partial)
        _describe(partial, model)
        _check(OnnxEngine.load(partial, settings.model_labels), classifier)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _trace(classifier: Classifier, model: Model, path: Path) -> None:
    size = sum(each.numel() * each.element_size() for each in classifier.state_dict().values())
    if size >= _LARGEST_BYTES:
        raise ModelError(f"{model.name} is too large for an ONNX file. Set ENGINE=torch-cpu.")
    side = model.preset.crop_size
    with warnings.catch_warnings(action="ignore"):
        # torch's older exporter needs a tenth of the time of the newer one and no onnxscript. For
        # 19 architectures that were tried, the results and their speed are the same.
        torch.onnx.export(
            classifier,
            (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
            path,
            dynamo=False,
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_axes={"pixels": {0: "n"}, "probabilities": {0: "n"}},
        )


def _describe(path: Path, model: Model) -> None:
    """Add the Model to the file's metadata, and sync the file to disk."""
    exported = onnx.load(path)
    entry = TypeAdapter(Model).dump_json(model).decode()
    onnx.helper.set_model_props(exported, {MODEL_ENTRY: entry})
    with path.open("wb") as file:
        file.write(exported.SerializeToString())
        file.flush()
        os.fsync(file.fileno())


def _check(engine: OnnxEngine, classifier: Classifier) -> None:
    """Compare with torch on noise, with another batch size than the traced one."""
    side = engine.model.preset.crop_size
    noise = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    actual = engine.predict(noise)
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(noise)).numpy()
    difference = float(np.abs(actual - expected).max())
    # With random weights two classes may tie, and then either is right. So the comparison uses
    # torch's probability of the chosen class.
    chosen = expected[np.arange(len(expected)), actual.argmax(axis=1)]
    if not (difference <= _TOLERANCE and np.allclose(chosen, expected.max(axis=1), rtol=1e-4)):
        raise ModelError(
            f"The export of {engine.model.name} gives other results than torch: probabilities "
            f"differ by up to {difference:.2g}."
        )

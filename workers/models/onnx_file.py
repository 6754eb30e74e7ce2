"""A package from an ONNX file of another program."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime

from shared.errors import ModelError
from workers.decode.preprocessing import Preset
from workers.engine.export_file import file_digest
from workers.engine.package import Activation, Source
from workers.models.files.head import refuse_pointer
from workers.models.graph import Ends, Layout, ends_of, wrapped
from workers.models.making import Made
from workers.models.presets import Wish

#: What ONNX Runtime puts before its message: a kind of error, and perhaps file, line and function.
_STATUS = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : (/\S+\.(h|cc):\d+ .*?\) (?=[A-Z]))?")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the file does not say, or says wrongly."""

    layout: Layout | None = None
    output: str | None = None
    activation: Activation | None = None
    channels: Literal["rgb", "bgr"] = "rgb"
    rescale: float = 1 / 255
    embedding: str | None = None  #: The name of a second output.


def from_onnx(
    path: Path, *, name: str, labels: tuple[str, ...], wish: Wish, choices: Choices
) -> Made:
    """Raises ModelError if the file classifies no pictures, or if a choice is missing."""
    model = read_onnx(path)
    ends = ends_of(model, layout=choices.layout, output=choices.output, embedding=choices.embedding)
    if ends.classes not in (None, len(labels)):
        raise ModelError(
            f"{path.name} has {ends.classes} classes, and there are {len(labels)} labels."
        )
    if ends.takes_bytes:
        wish = wish.of_bytes(path.name)
    preset = wish.preset(ends.side)
    activation = _activation(path, ends, choices.activation)
    return Made(
        onnx=packed(model, ends, preset, activation, choices),
        name=name,
        labels=labels,
        preset=preset,
        activation=activation,
        embedding=choices.embedding,
        source=Source(kind="onnx", file=path.name, digest=file_digest(path)),
    )


def read_onnx(path: Path) -> onnx.ModelProto:
    """Raises ModelError if the file is not ONNX, or a part of its weights is missing."""
    refuse_pointer(path)
    try:
        model = onnx.load(path)  # with the weights of files beside it
        onnx.checker.check_model(model)
        return model
    except Exception as error:  # onnx and protobuf have no common class
        raise ModelError(f"{path} is not a complete ONNX file: {_first_line(error)}") from error


def packed(
    model: onnx.ModelProto, ends: Ends, preset: Preset, activation: Activation, choices: Choices
) -> bytes:
    """The file of a package. It takes one picture at a time if the model cannot do more.

    Raises ModelError if the model does not run.
    """
    content = _wrapped(model, ends, preset, activation, choices, batch=None)
    if _failure(content, preset, pictures=3):
        content = _wrapped(model, ends, preset, activation, choices, batch=1)
        if reason := _failure(content, preset, pictures=1):
            raise ModelError(f"ONNX Runtime cannot run the model: {reason}")
    return content


def _wrapped(
    model: onnx.ModelProto,
    ends: Ends,
    preset: Preset,
    activation: Activation,
    choices: Choices,
    batch: int | None,
) -> bytes:
    whole = wrapped(
        model,
        ends,
        preset,
        activation,
        rescale=choices.rescale,
        channels=choices.channels,
        batch=batch,
    )
    try:
        content: bytes = whole.SerializeToString()
    except ValueError as error:
        raise ModelError("The model is larger than 2 GB, the limit of an ONNX file.") from error
    return content


def _failure(content: bytes, preset: Preset, *, pictures: int) -> str:
    """Why a file cannot be run with so many pictures; empty if it can."""
    side = preset.crop_size
    pixels = np.zeros((pictures, side, side, 3), np.uint8)
    try:
        session = onnxruntime.InferenceSession(content, _quiet(), ["CPUExecutionProvider"])
        scores, *_ = session.run(None, {"pixels": pixels})
    except Exception as error:  # ONNX Runtime's errors have no common class
        return _first_line(error)
    return "" if len(scores) == pictures else f"it gives {len(scores)} results for {pictures}"


def _first_line(error: Exception) -> str:
    """What a library says, without its own status, file and line."""
    first = (str(error).strip("\"' \n") or repr(error)).splitlines()[0]
    return textwrap.shorten(_STATUS.sub("", first), 250)


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # An error is reported as this module words it.
    return options


def _activation(path: Path, ends: Ends, wanted: Activation | None) -> Activation:
    if wanted is not None:
        return wanted
    if ends.activation is None:
        raise ModelError(
            f"{path.name} does not say what its output means. Give --activation softmax if exactly"
            " one label is right for a picture, sigmoid if several may be, none if the output is"
            " already a probability."
        )
    return ends.activation

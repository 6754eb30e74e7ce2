"""A tiny export, written without the libraries that make real ones."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from shared.settings import Settings
from workers.decode.preprocessing import Preset
from workers.engine.export_file import export_path
from workers.engine.graph.protobuf import FLOAT, UINT8, field, integer, value_info
from workers.engine.model import Model, weights_version
from workers.engine.onnx_engine import MODEL_ENTRY

DIGEST = "0123456789abcdef" * 4

MODEL = Model(
    name="tiny",
    version=weights_version("tiny", DIGEST),
    weights="random",
    weights_digest=DIGEST,
    labels=("red", "green", "blue"),
    preset=Preset(
        resize_size=40, crop_size=32, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear"
    ),
)


def tiny_settings(folder: Path) -> Settings:
    """Settings for which the tiny export lies in `folder`. Its classes are the three colours."""
    settings = Settings(
        model="tiny",
        model_weights="random",
        model_labels=None,
        engine="onnxruntime",
        data_dir=folder,
        models_dir=folder / "models",
    )
    path = export_path(settings, DIGEST)
    path.parent.mkdir(parents=True)
    path.write_bytes(onnx_file({MODEL_ENTRY: TypeAdapter(Model).dump_json(MODEL).decode()}))
    return settings


def onnx_file(metadata: dict[str, str]) -> bytes:
    """A ModelProto: the mean of each colour, and softmax over the three means."""
    cast = _node("Cast", "pixels", "numbers", _attribute_int("to", FLOAT))
    axes = _attribute_ints("axes", [1, 2])
    mean = _node("ReduceMean", "numbers", "means", axes, _attribute_int("keepdims", 0))
    softmax = _node("Softmax", "means", "probabilities", _attribute_int("axis", 1))
    graph = b"".join(
        [
            *(field(1, node) for node in (cast, mean, softmax)),
            field(2, b"tiny"),
            field(11, value_info("pixels", UINT8, ["n", 32, 32, 3])),
            field(12, value_info("probabilities", FLOAT, ["n", 3])),
        ]
    )
    entries = [field(1, key.encode()) + field(2, text.encode()) for key, text in metadata.items()]
    opset = integer(2, 13)
    return b"".join(
        [integer(1, 8), field(7, graph), field(8, opset), *(field(14, each) for each in entries)]
    )


def _node(kind: str, given: str, result: str, *attributes: bytes) -> bytes:
    fields = field(1, given.encode()) + field(2, result.encode()) + field(4, kind.encode())
    return fields + b"".join(field(5, each) for each in attributes)


def _attribute_int(name: str, value: int) -> bytes:
    return field(1, name.encode()) + integer(3, value) + integer(20, 2)


def _attribute_ints(name: str, values: list[int]) -> bytes:
    numbers = b"".join(integer(8, value) for value in values)
    return field(1, name.encode()) + numbers + integer(20, 7)

"""A tiny export, written without the libraries that make real ones."""

from __future__ import annotations

import struct
from pathlib import Path

from pydantic import TypeAdapter

from shared.settings import Settings
from workers.decode.preprocessing import Preset
from workers.engine.export_file import export_path
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

_FLOAT, _UINT8 = 1, 2


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
    cast = _node("Cast", "pixels", "numbers", _attribute_int("to", _FLOAT))
    axes = _attribute_ints("axes", [1, 2])
    mean = _node("ReduceMean", "numbers", "means", axes, _attribute_int("keepdims", 0))
    softmax = _node("Softmax", "means", "probabilities", _attribute_int("axis", 1))
    graph = b"".join(
        [
            *(_field(1, node) for node in (cast, mean, softmax)),
            _field(2, b"tiny"),
            _field(11, _tensor("pixels", _UINT8, ["n", 32, 32, 3])),
            _field(12, _tensor("probabilities", _FLOAT, ["n", 3])),
        ]
    )
    entries = [_field(1, key.encode()) + _field(2, text.encode()) for key, text in metadata.items()]
    opset = _number(2, 13)
    return b"".join(
        [_number(1, 8), _field(7, graph), _field(8, opset), *(_field(14, each) for each in entries)]
    )


def _node(kind: str, given: str, result: str, *attributes: bytes) -> bytes:
    fields = _field(1, given.encode()) + _field(2, result.encode()) + _field(4, kind.encode())
    return fields + b"".join(_field(5, each) for each in attributes)


def _attribute_int(name: str, value: int) -> bytes:
    return _field(1, name.encode()) + _number(3, value) + _number(20, 2)


def _attribute_ints(name: str, values: list[int]) -> bytes:
    numbers = b"".join(_number(8, value) for value in values)
    return _field(1, name.encode()) + numbers + _number(20, 7)


def _tensor(name: str, kind: int, shape: list[str | int]) -> bytes:
    sizes = [_number(1, n) if isinstance(n, int) else _field(2, n.encode()) for n in shape]
    dimensions = b"".join(_field(1, each) for each in sizes)
    tensor_type = _field(1, _number(1, kind) + _field(2, dimensions))
    return _field(1, name.encode()) + _field(2, tensor_type)


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf with a length."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    """A field of protobuf with an integer."""
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    pieces = []
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return struct.pack(f"{len(pieces) + 1}B", *pieces, value)

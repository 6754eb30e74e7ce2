"""Small ONNX files as other programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 24
CLASSES = 4
LABELS = ("red", "green", "blue", "gray")

_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def write_model(
    path: Path,
    *,
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    kind: str = "float32",
    batch: int | str = "n",
    side: int | str = SIDE,
    channels: int = 3,
    end: str | None = None,
    keeps_dims: bool = False,
    fixed_reshape: bool = False,
    names: tuple[str, str] = ("images", "scores"),
    second: str | None = None,
) -> Path:
    """A convolution, the mean of each of its channels, and a layer of `CLASSES` outputs.

    `second` is an operator whose result is another output: `Relu` gives a map of each channel,
    `GlobalAveragePool` and `Flatten` a number for each channel, with more dimensions and without.
    """
    source = np.random.default_rng(3)
    number = np.float16 if kind == "float16" else np.float32
    weights = {
        "w": source.normal(size=(8, channels, 3, 3)),
        "v": source.normal(size=(8, CLASSES)) * 3,
        "shape": np.array([1, 8]),
    }
    shape = [batch, channels, side, side] if layout == "NCHW" else [batch, side, side, channels]
    nodes, value = [], names[0]

    def add(op: str, *others: str, **attributes: Any) -> None:
        nonlocal value
        nodes.append(helper.make_node(op, [value, *others], [f"{op}{len(nodes)}"], **attributes))
        value = nodes[-1].output[0]

    if kind == "uint8":
        add("Cast", to=TensorProto.FLOAT)
    if layout == "NHWC":
        add("Transpose", perm=[0, 3, 1, 2])
    add("Conv", "w", pads=[1, 1, 1, 1])
    add("Relu")
    add("GlobalAveragePool")
    add("Reshape", "shape") if fixed_reshape else add("Flatten")
    add("MatMul", "v")
    if end:
        add(end, **({"axis": 1} if end == "Softmax" else {}))
    if keeps_dims:
        nodes.append(helper.make_node("Unsqueeze", [value, "axes"], ["wide"]))
        value = "wide"
    nodes.append(helper.make_node("Identity", [value], [names[1]]))
    value = names[1]
    result = [batch, CLASSES, 1, 1] if keeps_dims else [batch, CLASSES]
    result_type = TensorProto.FLOAT16 if kind == "float16" else TensorProto.FLOAT
    constants = [
        numpy_helper.from_array(array if array.dtype == np.int64 else array.astype(number), name)
        for name, array in (weights | {"axes": np.array([2, 3])}).items()
    ]
    outputs = [helper.make_tensor_value_info(value, result_type, result)]
    if second:
        sides = {"Relu": [side, side], "GlobalAveragePool": [1, 1], "Flatten": []}[second]
        [name] = [node.output[0] for node in nodes if node.op_type == second]
        outputs.append(helper.make_tensor_value_info(name, result_type, [batch, 8, *sides]))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(names[0], _TYPES[kind], shape)],
        outputs,
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def answer(path: Path, images: NDArray[Any]) -> NDArray[np.float32]:
    """What the file itself gives for its own input, a picture at a time."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [name] = [each.name for each in session.get_inputs()]
    results = [session.run(None, {name: each[None]})[0] for each in images]
    return np.concatenate(results).reshape(len(images), -1).astype(np.float32)

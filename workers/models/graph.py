"""Wraps an ONNX graph, so that pixels go in and scores come out.

Normalisation, layout and activation become part of the graph. A worker then needs no other code
for them, and ONNX Runtime joins them with the first layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnx
import onnx.compose
from onnx import TensorProto, helper, numpy_helper

from shared.errors import ModelError
from workers.decode.preprocessing import Preset
from workers.engine.onnx_engine import EMBEDDING
from workers.engine.package import Activation
from workers.models.outputs import (
    add_embedding,
    classes_of,
    dims_of,
    embedding_of,
    output_of,
    shape_text,
)

#: Put before each name that is added to a graph.
_OWN = "classifier/"

#: Put before all names of a graph that uses some of ours.
_THEIRS = "model/"

_PIXELS, _SCORES = "pixels", "probabilities"
_BATCH = "n"

Layout = Literal["NCHW", "NHWC"]

_ACTIVATIONS: dict[str, Activation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}

#: Steps that leave the numbers as they are.
_SAME_NUMBERS = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")

_TYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
}


@dataclass(frozen=True)
class Ends:
    """The input and the output of a graph that classifies pictures."""

    given: str  #: The name of the input.
    kind: int  #: ONNX's number of its type.
    layout: Layout
    side: int | None  #: In pixels. None if the graph takes any size.
    result: str  #: The name of the output.
    classes: int | None  #: None if the graph does not say it.
    activation: Activation | None  #: Of the last step, if that is one.
    embedding: str | None = None  #: The name of a second output, if one was chosen.

    @property
    def takes_bytes(self) -> bool:
        return bool(self.kind == TensorProto.UINT8)


def ends_of(
    model: onnx.ModelProto,
    *,
    layout: Layout | None,
    output: str | None,
    embedding: str | None = None,
) -> Ends:
    """Look at a graph. Raises ModelError if it does not take one picture, or needs a choice."""
    given = _input(model)
    dims = dims_of(given)
    kind = given.type.tensor_type.elem_type
    if kind not in _TYPES:
        raise ModelError(
            f"The input {given.name} is {TensorProto.DataType.Name(kind)}; it must be one of"
            f" {', '.join(_TYPES.values())}."
        )
    layout = layout or _layout(given.name, dims)
    channels, sides = (dims[1], dims[2:]) if layout == "NCHW" else (dims[3], dims[1:3])
    if channels not in (3, None):
        raise ModelError(
            f"The input {given.name} has {channels} channels ({shape_text(dims)}, {layout})."
            " Only models of pictures with 3 channels, red, green and blue, can be served."
        )
    if sides[0] != sides[1]:
        raise ModelError(f"The input {given.name} is not square: {shape_text(dims)}.")
    if embedding is not None:
        embedding_of(model, embedding)
    result = output_of(model, output, besides=embedding)
    return Ends(
        given=given.name,
        kind=kind,
        layout=layout,
        side=sides[0],
        result=result.name,
        classes=classes_of(result),
        activation=_last_step(model, result.name),
        embedding=embedding,
    )


def wrapped(
    model: onnx.ModelProto,
    ends: Ends,
    preset: Preset,
    activation: Activation,
    *,
    rescale: float = 1 / 255,
    channels: Literal["rgb", "bgr"] = "rgb",
    batch: int | None = None,
) -> onnx.ModelProto:
    """A model that takes uint8 RGB of shape (n, side, side, 3) and gives float32 scores.

    Each number is multiplied by `rescale`, then mean and deviation of the preset are applied. n is
    `batch`, or any number.
    """
    own, ends = _with_free_names(model, ends)
    graph = own.graph
    rank = len(dims_of(embedding_of(own, ends.embedding))) if ends.embedding else 0
    first = _first_steps(ends, preset, rescale, channels)
    last = _last_steps(ends, activation, rank=len(dims_of(output_of(own, ends.result))))
    for tensor in first.constants:
        graph.initializer.append(tensor)
    nodes = [*first.nodes, *_renamed(graph.node, ends.given, first.result), *last.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    names = {tensor.name for tensor in graph.initializer}
    kept = [each for each in graph.input if each.name in names]
    del graph.input[:], graph.output[:]
    side = preset.crop_size
    graph.input.extend(
        [
            helper.make_tensor_value_info(
                _PIXELS, TensorProto.UINT8, [batch or _BATCH, side, side, 3]
            ),
            *kept,
        ]
    )
    graph.output.append(helper.make_tensor_value_info(_SCORES, TensorProto.FLOAT, [_BATCH, None]))
    if ends.embedding:
        add_embedding(graph, ends.embedding, rank=rank)
    # They may name a batch of one.
    del graph.value_info[:]
    return own


def _with_free_names(model: onnx.ModelProto, ends: Ends) -> tuple[onnx.ModelProto, Ends]:
    """A copy that has no value with a name of ours."""
    graph = model.graph
    names = {name for node in graph.node for name in node.output}
    names |= {each.name for each in (*graph.input, *graph.initializer)}
    ours = {_PIXELS, _SCORES, *([EMBEDDING] if ends.embedding else [])}
    if not any(name in ours or name.startswith(_OWN) for name in names):
        own = onnx.ModelProto()
        own.CopyFrom(model)
        return own, ends
    own = onnx.compose.add_prefix(model, _THEIRS)
    embedding = ends.embedding and _THEIRS + ends.embedding
    renamed = replace(ends, given=_THEIRS + ends.given, result=_THEIRS + ends.result)
    return own, replace(renamed, embedding=embedding)


@dataclass(frozen=True)
class _Steps:
    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]
    result: str


def _first_steps(ends: Ends, preset: Preset, rescale: float, channels: str) -> _Steps:
    steps = _Steps([], [], "")
    value = _PIXELS

    def add(kind: str, *inputs: str, **attributes: Any) -> str:
        result = f"{_OWN}{kind.lower()}{len(steps.nodes)}"
        steps.nodes.append(helper.make_node(kind, [value, *inputs], [result], **attributes))
        return result

    def constant(name: str, array: np.ndarray[Any, Any]) -> str:
        steps.constants.append(numpy_helper.from_array(array, f"{_OWN}{name}"))
        return f"{_OWN}{name}"

    if channels == "bgr":
        value = add("Gather", constant("order", np.array([2, 1, 0], np.int64)), axis=3)
    if not ends.takes_bytes:
        value = add("Cast", to=TensorProto.FLOAT)
        order = slice(None, None, -1) if channels == "bgr" else slice(None)
        mean, std = (np.array(each, np.float32)[order] for each in (preset.mean, preset.std))
        value = add("Mul", constant("scale", (np.float32(rescale) / std).astype(np.float32)))
        value = add("Add", constant("shift", -mean / std))
    if ends.layout == "NCHW":
        value = add("Transpose", perm=[0, 3, 1, 2])
    if ends.kind == TensorProto.FLOAT16:
        value = add("Cast", to=TensorProto.FLOAT16)
    return _Steps(steps.nodes, steps.constants, value)


def _last_steps(ends: Ends, activation: Activation, *, rank: int) -> _Steps:
    kinds = ["Cast"]
    if rank != 2:
        kinds.append("Flatten")
    # A graph that ends with the activation has it already.
    if activation != "none" and ends.activation != activation:
        kinds.append(activation.capitalize())
    nodes, value = [], ends.result
    for place, kind in enumerate(kinds):
        result = _SCORES if place == len(kinds) - 1 else f"{_OWN}end{place}"
        attributes = {"Cast": {"to": TensorProto.FLOAT}}.get(kind, {})
        if kind in ("Flatten", "Softmax"):
            attributes = {"axis": 1}
        nodes.append(helper.make_node(kind, [value], [result], **attributes))
        value = result
    return _Steps(nodes, [], value)


def _renamed(nodes: Sequence[onnx.NodeProto], name: str, new: str) -> Sequence[onnx.NodeProto]:
    """Nodes that read `new` instead of `name`, also in the graphs inside loops and branches."""
    for node in nodes:
        for place, each in enumerate(node.input):
            if each == name:
                node.input[place] = new
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                _renamed(graph.node, name, new)
    return nodes


def _input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    shown = ", ".join(f"{each.name} ({shape_text(dims_of(each))})" for each in inputs)
    if len(inputs) != 1 or len(dims_of(inputs[0])) != 4:
        raise ModelError(
            f"The model has the inputs {shown or 'none'}. It must have one, for pictures: with four"
            " dimensions, such as (n, 3, 224, 224)."
        )
    return inputs[0]


def _layout(name: str, dims: Sequence[int | None]) -> Layout:
    if dims[1] in (1, 3) and dims[3] not in (1, 3):
        return "NCHW"
    if dims[3] in (1, 3) and dims[1] not in (1, 3):
        return "NHWC"
    raise ModelError(
        f"The shape of the input {name}, ({shape_text(dims)}), does not show where the channels"
        " are. Say --layout NCHW or --layout NHWC."
    )


def _last_step(model: onnx.ModelProto, output: str) -> Activation | None:
    place = activation_place(model.graph, output)
    return None if place is None else _ACTIVATIONS[model.graph.node[place].op_type]


def activation_place(graph: onnx.GraphProto, output: str) -> int | None:
    """The place of the node that makes scores of logits, if the graph ends with one."""
    # Nodes are in an order in which each follows those that it reads.
    for place, node in reversed(list(enumerate(graph.node))):
        if output not in node.output:
            continue
        if node.op_type in _ACTIVATIONS:
            return place
        if node.op_type not in _SAME_NUMBERS:
            return None
        output = node.input[0]
    return None

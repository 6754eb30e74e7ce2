"""Temperature scaling (Guo et al. 2017): a graph divides its logits by a number before softmax.

A temperature over 1 makes a model less sure. The most probable label stays the same.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.errors import ModelError
from workers.models.graph import activation_place

_CAST, _SCALE, _SCALED = "classifier/logits", "classifier/temperature", "classifier/scaled"


def set_temperature(model: onnx.ModelProto, temperature: float) -> None:
    """Change the file of a package, so that it divides by `temperature`, and by no earlier one.

    Raises ModelError if the scores are not made by softmax or sigmoid.
    """
    graph = model.graph
    place = activation_place(graph, graph.output[0].name)
    if place is None:
        raise ModelError(
            "A temperature needs a model whose scores are made by softmax or sigmoid. This model"
            " gives the numbers of its ONNX file as they are."
        )
    activation = graph.node[place]
    if activation.input[0] == _SCALED:
        activation.input[0] = graph.node[place - 2].input[0]
        del graph.node[place - 2 : place]
        _remove(graph.initializer, _SCALE)
        place -= 2
    if temperature == 1:
        return
    steps = [
        # The logits may be float16.
        helper.make_node("Cast", [activation.input[0]], [_CAST], to=TensorProto.FLOAT),
        helper.make_node("Mul", [_CAST, _SCALE], [_SCALED]),
    ]
    activation.input[0] = _SCALED
    for step in reversed(steps):
        graph.node.insert(place, step)
    graph.initializer.append(numpy_helper.from_array(np.float32(1 / temperature), _SCALE))


def _remove(tensors: list[onnx.TensorProto], name: str) -> None:
    for place, each in enumerate(tensors):
        if each.name == name:
            del tensors[place]
            return

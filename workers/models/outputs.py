"""The outputs of a graph: the scores, and perhaps an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import onnx
from onnx import TensorProto, helper

from shared.errors import ModelError
from workers.engine.onnx_engine import EMBEDDING

#: The name of the embedding of a network that is exported here.
_FEATURES = "features"

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)

#: The name between the two steps of an embedding.
_WIDE = "classifier/embedding"


def output_of(
    model: onnx.ModelProto, name: str | None, *, besides: str | None = None
) -> onnx.ValueInfoProto:
    """The output with this name, or the only one `besides` another. Raises ModelError."""
    outputs = list(model.graph.output)
    if name is not None:
        for each in outputs:
            if each.name == name:
                return each
        raise ModelError(f"The model has no output {name}. It has {_shown(outputs)}.")
    left = [each for each in outputs if each.name != besides]
    if len(left) != 1:
        raise ModelError(
            f"The model has several outputs: {_shown(left)}. Choose one with --output."
            if left
            else f"The model has no output beside {besides}, so it gives no scores."
        )
    return left[0]


def _shown(outputs: Sequence[onnx.ValueInfoProto]) -> str:
    return ", ".join(f"{each.name} ({shape_text(dims_of(each))})" for each in outputs)


def classes_of(output: onnx.ValueInfoProto) -> int | None:
    dims = dims_of(output)
    if len(dims) == 2 or (len(dims) == 4 and {*dims[2:]} <= {1}):
        return dims[1]
    raise ModelError(
        f"The output {output.name} has the shape ({shape_text(dims)}). A model that classifies"
        " gives one score for each class: (n, classes)."
    )


def embedding_of(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    """The output with this name. Raises ModelError if it is not a vector for each picture."""
    output = output_of(model, name)
    dims = dims_of(output)
    kind = output.type.tensor_type.elem_type
    is_vector = len(dims) == 2 or (len(dims) == 4 and {*dims[2:]} == {1})
    if kind not in _FLOATS or not is_vector:
        raise ModelError(
            f"The output {name} cannot be the embedding: it is {TensorProto.DataType.Name(kind)} of"
            f" the shape ({shape_text(dims)}). An embedding is one vector of floats for each"
            " picture: (n, size) or (n, size, 1, 1)."
        )
    return output


def add_embedding(graph: onnx.GraphProto, name: str, *, rank: int) -> None:
    """Let a graph give a value with so many dimensions as float32 of shape (n, size)."""
    end: dict[str, Any] = {"to": TensorProto.FLOAT}
    if rank == 2:
        graph.node.append(helper.make_node("Cast", [name], [EMBEDDING], **end))
    else:
        graph.node.append(helper.make_node("Cast", [name], [_WIDE], **end))
        graph.node.append(helper.make_node("Flatten", [_WIDE], [EMBEDDING], axis=1))
    graph.output.append(helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["n", None]))


def numbers_of(content: bytes) -> Literal["float32", "float16"]:
    """The number format of the weights of an ONNX file. Some may be float32 beside float16."""
    graph = onnx.load_model_from_string(content).graph
    tensors = [*graph.initializer]
    tensors += [
        each.t for node in graph.node for each in node.attribute if node.op_type == "Constant"
    ]
    has_float16 = any(each.data_type == TensorProto.FLOAT16 for each in tensors)
    return "float16" if has_float16 else "float32"


def add_features(model: onnx.ModelProto, name: str) -> None:
    """Let an exported network also give what its last layer gets, as the output `features`.

    Raises ModelError if the name is another one, or if this is not a vector for each picture.
    """
    if name != _FEATURES:
        raise ModelError(
            f"A network of torchvision or timm has no output {name}. Give --embedding {_FEATURES}:"
            " the numbers that its last layer gets."
        )
    graph = model.graph
    [last] = [node for node in graph.node if graph.output[0].name in node.output]
    if last.op_type != "Gemm":
        raise ModelError(
            "The last layer of this network does not get one vector for each picture, so it has no"
            " embedding. Leave out --embedding."
        )
    graph.node.append(helper.make_node("Identity", [last.input[0]], [_FEATURES]))
    features = helper.make_tensor_value_info(_FEATURES, TensorProto.FLOAT, ["n", None])
    graph.output.append(features)


def dims_of(value: onnx.ValueInfoProto) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [each.dim_value if each.HasField("dim_value") else None for each in dims]


def shape_text(dims: Sequence[int | None]) -> str:
    return ", ".join("n" if each is None else str(each) for each in dims)

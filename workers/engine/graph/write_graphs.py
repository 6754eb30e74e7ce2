"""`python -m workers.engine.graph.write_graphs` writes the shipped graphs. It needs torch.

Run it after a change of `Classifier`, or of the versions of torch and torchvision.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch

from workers.engine.export_file import DEMONSTRATION
from workers.engine.graph.graph import Weights, graph_file, write_weights
from workers.engine.torchvision_model import Classifier, build, description, published_weights
from workers.engine.weights.weights_file import read_description

#: The default model, and the architecture of the demonstration model.
ARCHITECTURE = "mobilenet_v3_large"

#: The network is a part of `Classifier`, which prefixes the names of its weights.
_PREFIX = "network."


def main() -> None:
    demonstration = read_description(DEMONSTRATION)
    assert demonstration and demonstration.architecture == ARCHITECTURE
    write_weights(ARCHITECTURE, weights())
    for enlarged_size in (None, demonstration.enlarged_size):
        graph_file(ARCHITECTURE, enlarged_size).write_bytes(graph(enlarged_size))


def weights() -> Weights:
    published = published_weights(ARCHITECTURE)
    described = description(published)
    network = build(ARCHITECTURE, described.preset, classes=len(described.labels))
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()  # The counters of batches are integers.
    }
    return Weights(url=published.url, description=described, shapes=shapes)


def graph(enlarged_size: int | None) -> bytes:
    """An ONNX file without input, output and weights. Its names are those of the state dict."""
    described = description(published_weights(ARCHITECTURE))
    network = build(ARCHITECTURE, described.preset, classes=len(described.labels))
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_()  # The exporter joins equal tensors, as new ones are.
    side = described.preset.crop_size
    with TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path = Path(folder, "graph.onnx")
        torch.onnx.export(
            Classifier(network, described.preset, enlarged_size),
            (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
            path,
            dynamo=False,
            # Otherwise the exporter joins normalisations and convolutions, as ONNX Runtime does.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_axes={"pixels": {0: "n"}, "probabilities": {0: "n"}},
        )
        return _emptied(onnx.load(path))


def _emptied(model: onnx.ModelProto) -> bytes:
    for values in (model.graph.initializer, model.graph.input, model.graph.output):
        del values[:]
    for node in model.graph.node:
        node.ClearField("name")
        node.input[:] = [name.removeprefix(_PREFIX) for name in node.input]
    content: bytes = model.SerializeToString(deterministic=True)
    return content


if __name__ == "__main__":
    main()

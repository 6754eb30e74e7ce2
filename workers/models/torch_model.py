"""Packages from networks of PyTorch with weights of a file. Those of torchvision need no more."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import nn

from shared.errors import ModelError
from workers.decode.preprocessing import Preset
from workers.engine.export_file import file_digest
from workers.engine.package import Activation, Source
from workers.engine.torchvision_model import build, description, published_weights
from workers.models.files.checkpoint import load_into, read_checkpoint
from workers.models.graph import ends_of
from workers.models.making import Made, Reference
from workers.models.onnx_file import Choices, packed
from workers.models.outputs import add_features
from workers.models.presets import Wish

Transform = Callable[[Image.Image], torch.Tensor]

_ACTIVATE: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda scores: scores.softmax(1),
    "sigmoid": torch.Tensor.sigmoid,
    "none": lambda scores: scores,
}


NO_SIZE = (
    "A checkpoint does not say the size of the pictures that the model was trained on."
    " Give --image-size."
)


def from_torchvision(
    architecture: str,
    path: Path,
    *,
    name: str,
    labels: tuple[str, ...] | None,
    wish: Wish,
    choices: Choices,
) -> Made:
    """A network of torchvision with a checkpoint. Raises ModelError if they do not fit."""
    published = description(published_weights(architecture, "--architecture "))
    given: dict[str, Any] = {"mean": published.preset.mean, "std": published.preset.std}
    given |= {"interpolation": published.preset.interpolation}
    state = read_checkpoint(path)
    if labels is None and "crop_size" not in wish.given:
        # Perhaps these are the published weights. Nothing else could have their labels.
        given |= {"crop_size": published.preset.crop_size}
        given |= {"resize_size": published.preset.resize_size}
    if "crop_size" not in {**given, **wish.given}:
        raise ModelError(NO_SIZE)
    preset = Wish(given | wish.given).preset(None)
    network = build(architecture, preset, classes=len(published.labels))
    classes = load_into(network, state, path, architecture)
    labels = labels or (published.labels if classes == len(published.labels) else None)
    source = Source(
        kind="torchvision", file=path.name, digest=file_digest(path), architecture=architecture
    )
    return made_of(network, transform_of(preset), name, labels, classes, preset, source, choices)


def made_of(
    network: nn.Module,
    transform: Transform,
    name: str,
    labels: tuple[str, ...] | None,
    classes: int,
    preset: Preset,
    source: Source,
    choices: Choices,
) -> Made:
    """Export a network with its weights. `transform` is its library's own preprocessing.

    Raises ModelError if labels are missing, or if the network cannot be exported.
    """
    if labels is None:
        raise ModelError(f"Nothing names the {classes} classes of the weights. Give --labels FILE.")
    if len(labels) != classes:
        raise ModelError(f"The weights have {classes} classes, and there are {len(labels)} labels.")
    activation = choices.activation or "softmax"
    network.eval()
    model = _exported(network, preset.crop_size)
    if choices.embedding is not None:
        add_features(model, choices.embedding)
    ends = ends_of(model, layout="NCHW", output=None, embedding=choices.embedding)
    return Made(
        onnx=packed(model, ends, preset, activation, Choices()),
        name=name,
        labels=labels,
        preset=preset,
        activation=activation,
        embedding=choices.embedding,
        source=source,
        reference=_reference(network, transform, activation),
    )


def _exported(network: nn.Module, side: int) -> onnx.ModelProto:
    """The network as ONNX: normalised pictures in, its own scores out."""
    try:
        with TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            path = Path(folder, "network.onnx")
            torch.onnx.export(
                network,
                (torch.zeros(2, 3, side, side),),
                path,
                dynamo=False,
                input_names=["images"],
                output_names=["scores"],
                dynamic_axes={"images": {0: "n"}, "scores": {0: "n"}},
            )
            return onnx.load(path)
    except Exception as error:  # whatever the network's code raises
        reason = str(error).strip().splitlines()
        raise ModelError(
            f"The network cannot be run on pictures of {side} pixels, or not be exported:"
            f" {reason[0] if reason else error!r}"
        ) from error


def _reference(network: nn.Module, transform: Transform, activation: Activation) -> Reference:
    @torch.inference_mode()
    def scores(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = _ACTIVATE[activation](network(torch.from_numpy(pixels)[None]))
        result: NDArray[np.float32] = answer[0].float().numpy()
        return result

    return Reference(transform=lambda picture: transform(picture).numpy(), scores=scores)


def transform_of(preset: Preset) -> Transform:
    """The preset as torchvision does it. It has nothing that fills; Pillow resizes then."""
    from torchvision import transforms

    both = preset.resize == "both"
    size = [preset.resize_size, preset.resize_size] if both else preset.resize_size
    mode = transforms.InterpolationMode(preset.interpolation)
    resized = transforms.Resize(size, interpolation=mode, antialias=True)
    return transforms.Compose(  # type: ignore[no-any-return]
        [
            partial(_filled, preset) if preset.resize == "longer" else resized,
            transforms.CenterCrop(preset.crop_size),
            transforms.ToTensor(),
            transforms.Normalize(preset.mean, preset.std),
        ]
    )


def _filled(preset: Preset, picture: Image.Image) -> Image.Image:
    """Both sides fit into the square, and its rest has the colour of the preset."""
    size, side = (preset.resize_size, preset.resize_size), preset.crop_size
    method = Image.Resampling[preset.interpolation.upper()]
    part = ImageOps.contain(picture, size, method)
    square = Image.new("RGB", (side, side), preset.fill)
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    return square

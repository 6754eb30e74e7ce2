"""A classification model of torchvision by its name, with weights, preset and labels."""

from __future__ import annotations

import difflib
import hashlib
import re
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from shared.errors import ModelError
from shared.settings import Settings
from workers.decode.preprocessing import Preset
from workers.engine.export_file import file_digest, weights_file, weights_source
from workers.engine.model import Model, architecture, describe
from workers.engine.package import packages_hint
from workers.engine.weights.download import download
from workers.engine.weights.weights_file import Description, read_description, reading

try:
    import torchvision
except RuntimeError:
    # torchvision's wheels are built for CUDA. With a torch for CPUs their operators do not load,
    # and the import fails because of these two. Classification does not call them, so it is enough
    # to define their names.
    _SCHEMAS = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for _name in ("nms", "qnms"):
        _SCHEMAS.define(  # type: ignore[no-untyped-call]
            f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    import torchvision

State = dict[str, torch.Tensor]


class Classifier(nn.Module):
    """A network with normalisation before and softmax after it.

    uint8 RGB of shape (n, crop, crop, 3) in, float32 probabilities of shape (n, classes) out. If
    `enlarged_size` is set, pictures are enlarged to that side first.
    """

    def __init__(
        self, network: nn.Module, preset: Preset, enlarged_size: int | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.enlarged_size = enlarged_size
        mean, std = torch.tensor(preset.mean), torch.tensor(preset.std)
        self.scale = nn.Buffer((1 / (255 * std)).view(3, 1, 1))
        self.shift = nn.Buffer((-mean / std).view(3, 1, 1))
        self.eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift
        if self.enlarged_size:
            side = self.enlarged_size
            images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
        scores: torch.Tensor = self.network(images)
        return scores.float().softmax(1)


def load(settings: Settings) -> tuple[Classifier, Model]:
    """The network for the settings, on the CPU in fp32, and its description.

    The weights bring the labels. MODEL_LABELS is used only if they bring none. Raises ModelError if
    the name is unknown, the weights cannot be loaded or do not fit, or labels are missing.
    """
    path = weights_file(settings)
    in_file = read_description(path) if path else None
    name = architecture(settings, in_file)
    published = published_weights(name, packages=packages_hint(settings))
    described = in_file or description(published)
    if weights_source(settings) == "random":
        described = replace(described, variant="random weights")
        network = _random(name, described.preset, classes=len(described.labels))
        digest = _digest(network)
    else:
        path = path or download(published.url, settings)
        network = _trained(name, described.preset, path, classes=len(described.labels))
        digest = file_digest(path)
    model = describe(settings, name, described, digest, classes=_classes(network))
    return Classifier(network, described.preset, described.enlarged_size), model


def fetch(settings: Settings) -> None:
    """Download torchvision's weights for the settings. Raises ModelError as `download` does."""
    published = published_weights(settings.model, packages=packages_hint(settings))
    download(published.url, settings)


def published_weights(name: str, option: str = "MODEL=", packages: str = "") -> Any:
    """torchvision's best weights for a model: a URL, a preset and labels.

    Raises ModelError, which begins with `option` and the name and ends with `packages`, if it has
    no such model.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if name in names:
        return torchvision.models.get_model_weights(name).DEFAULT
    if name in torchvision.models.list_models():
        raise ModelError(f"{option}{name} is a model that does not classify pictures")
    close = difflib.get_close_matches(name, names)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Use one of {', '.join(names)}."
    raise ModelError(
        f"{option}{name} is not a classification model of torchvision. {hint}{packages}"
    )


def description(published: Any) -> Description:
    transforms = published.transforms()
    preset = Preset(
        resize_size=transforms.resize_size[0],
        crop_size=transforms.crop_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )
    labels = tuple(published.meta["categories"])
    return Description(variant="", notice="", labels=labels, preset=preset)


def build(name: str, preset: Preset, *, classes: int, auxiliary: bool = False) -> nn.Module:
    """An untrained network with the options that torchvision sets for its own weights."""
    options: dict[str, Any] = {"num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        options |= {"transform_input": True, "aux_logits": auxiliary, "init_weights": False}
    if name.startswith("vit_"):
        options["image_size"] = preset.crop_size
    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return network


def _random(name: str, preset: Preset, *, classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # Every worker gets the same weights.
        return build(name, preset, classes=classes)


def _trained(name: str, preset: Preset, path: Path, *, classes: int) -> nn.Module:
    """A network with the weights of a file.

    `classes` is the expected number. If the file has another one, the network is built again.
    """
    state = read_state(path)
    auxiliary = any(key.lower().startswith("aux") for key in state)
    network = build(name, preset, classes=classes, auxiliary=auxiliary)
    head = list(network.state_dict())[-1]
    if head not in state:
        raise ModelError(f"The weights in {path} do not fit MODEL={name}: they have no {head}")
    if len(state[head]) != classes:
        network = build(name, preset, classes=len(state[head]), auxiliary=auxiliary)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 300)
        raise ModelError(f"The weights in {path} do not fit MODEL={name}: {reason}") from error
    return network


def read_state(path: Path) -> State:
    """A model's state dict on the CPU, from a `.safetensors` file or one by torch.save.

    Raises ModelError if the file cannot be read or holds something else.
    """
    with reading(path):
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{path} holds no plain state dict of names and tensors")
    return {_current_name(name): tensor for name, tensor in state.items()}


def _classes(network: nn.Module) -> int:
    return len(list(network.parameters())[-1])


def _digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.numpy())
    return digest.hexdigest()


def _current_name(name: str) -> str:
    """torchvision's DenseNet files still use names that torch no longer allows."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)

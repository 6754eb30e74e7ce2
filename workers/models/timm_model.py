"""A package from a network of timm: a folder that timm has saved, or weights. It needs timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from shared.errors import ModelError
from workers.engine.export_file import file_digest
from workers.engine.package import Source
from workers.models.files.checkpoint import load_into, read_checkpoint
from workers.models.files.json_file import read_object
from workers.models.labels import labels_of
from workers.models.making import Made
from workers.models.onnx_file import Choices
from workers.models.presets import Wish
from workers.models.torch_model import NO_SIZE, made_of, transform_of

_CONFIG = "config.json"

#: The names that `timm.models.save_for_hf` gives to weights.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")

#: timm's names for what happens to a picture that is not square.
_RULES = {None: "shorter", "center": "shorter", "squash": "both", "border": "longer"}


def from_timm(folder: Path, *, name: str, labels: tuple[str, ...] | None, choices: Choices) -> Made:
    """Raises ModelError if timm is not installed, or if something in the folder is missing."""
    timm = _timm()
    config = read_object(folder / _CONFIG)
    published = {**config, **(config.get("pretrained_cfg") or {})}
    path = _weights(folder)
    network, architecture = _create(timm, config), str(config["architecture"])
    classes = load_into(network, read_checkpoint(path), path, architecture)
    data = timm.data.resolve_data_config({}, pretrained_cfg=published, model=network)
    preset = Wish(preset_of(data)).preset(None)
    own, descriptions = published.get("label_names"), published.get("label_descriptions") or {}
    if labels is None and own:
        labels = labels_of(
            [descriptions.get(each, each) for each in own], f"{_CONFIG}: label_names"
        )
    return made_of(
        network,
        timm.data.create_transform(**data, is_training=False),
        name,
        labels,
        classes,
        preset,
        Source(kind="timm", file=folder.name, digest=file_digest(path), architecture=architecture),
        choices,
    )


def from_timm_weights(
    architecture: str,
    path: Path,
    *,
    name: str,
    labels: tuple[str, ...] | None,
    wish: Wish,
    choices: Choices,
) -> Made:
    """A network by timm's name, with a checkpoint. Raises ModelError if they do not fit."""
    if "crop_size" not in wish.given:
        raise ModelError(NO_SIZE)
    timm = _timm()
    network = _create(timm, {"architecture": architecture})
    data = preset_of(timm.data.resolve_data_config({}, model=network))
    given = {key: data[key] for key in ("mean", "std", "interpolation")}
    preset = Wish(given | wish.given).preset(None)
    classes = load_into(network, read_checkpoint(path), path, architecture)
    source = Source(
        kind="timm", file=path.name, digest=file_digest(path), architecture=architecture
    )
    return made_of(network, transform_of(preset), name, labels, classes, preset, source, choices)


def preset_of(data: dict[str, Any]) -> dict[str, Any]:
    """The preset that timm's `resolve_data_config` describes.

    Raises ModelError if pictures are not square, or are prepared by an unknown rule.
    """
    channels, height, width = data["input_size"]
    if channels != 3 or height != width:
        raise ModelError(
            f"The model takes pictures of {channels} × {height} × {width}, not of 3 × n × n."
        )
    rule = data.get("crop_mode")
    if rule not in _RULES:
        raise ModelError(f"{_CONFIG} has the crop_mode {rule}; known are center, squash, border.")
    return {
        "crop_size": height,
        "resize_size": int(height / data["crop_pct"]),
        "resize": _RULES[rule],
        "interpolation": data["interpolation"],
        "mean": data["mean"],
        "std": data["std"],
        "fill": tuple(round(255 * each) for each in data["mean"]),
    }


def _weights(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder} has no weights, in {' or '.join(_WEIGHTS)}.")


def _timm() -> Any:
    try:
        import timm
        import timm.data
    except ModuleNotFoundError as error:
        raise ModelError("Models of timm need it: pip install -r requirements/timm.txt.") from error
    return timm


def _create(timm: Any, config: dict[str, Any]) -> nn.Module:
    """A network without weights. The number of classes is that of the weights in the end."""
    architecture, classes = str(config["architecture"]), config.get("num_classes") or 1000
    try:
        network: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=classes)
    except RuntimeError as error:
        raise ModelError(f"timm has no architecture {architecture}.") from error
    return network

"""`python -m workers.models add`: recognises what a model comes in, and makes a package of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from shared.errors import ModelError, TorchNeeded
from workers.engine.package import Package
from workers.models import huggingface
from workers.models.labels import read_labels
from workers.models.making import Made, write_package
from workers.models.onnx_file import Choices, from_onnx
from workers.models.presets import NAMED, Wish, read_preset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", help="of the package: a-z, 0-9, `.`, `-` and `_`")
    add(
        *("source",),
        type=Path,
        metavar="SOURCE",
        help="an ONNX file, a checkpoint of PyTorch, or a folder of Hugging Face or timm",
    )
    add("--architecture", help="of a checkpoint, by torchvision's name, such as resnet18")
    add("--labels", type=Path, metavar="FILE", help="a line each, CSV, or JSON")
    add("--label-column", metavar="NAME", help="of a CSV file of labels")
    add(
        *("--preset",),
        help=f"how pictures are normalised: {', '.join(NAMED)}, or a JSON file of a preset",
    )
    add("--image-size", type=int, metavar="PIXELS", help="side of the square that the model takes")
    add("--resize-size", type=int, metavar="PIXELS", help="of the picture before it is cropped")
    add(
        *("--resize",),
        choices=("shorter", "both", "longer"),
        help="the side that gets --resize-size; both stretches, longer fills the rest",
    )
    add("--interpolation", choices=("bilinear", "bicubic", "nearest", "lanczos"))
    add("--activation", choices=("softmax", "sigmoid", "none"), help="makes scores of the output")
    add("--layout", choices=("NCHW", "NHWC"), help="of the input of an ONNX file")
    add("--output", metavar="NAME", help="of the ONNX file that has the scores")
    add("--channels", choices=("rgb", "bgr"), default="rgb", help="their order; default: rgb")
    add(
        *("--range",),
        choices=("0-1", "0-255"),
        default="0-1",
        help="of the numbers that are normalised; default: 0-1",
    )
    add("--notice", default="", help="a remark that is shown with the results")
    add("--replace", action="store_true", help="replace a package of this name")


def add(options: argparse.Namespace, folder: Path) -> Package:
    """Make the package. Raises ModelError, and TorchNeeded if it needs PyTorch."""
    made = _made(options)
    if options.notice:
        made = Made(**{**vars(made), "notice": options.notice})
    return write_package(made, folder, replace=options.replace)


def _made(options: argparse.Namespace) -> Made:
    source: Path = options.source
    if not source.exists():
        raise ModelError(f"{source} does not exist.")
    column = options.label_column
    labels = read_labels(options.labels, column=column) if options.labels else None
    common = {"name": options.name, "choices": _choices(options)}
    if source.is_dir():
        return _of_folder(source, labels, _wish(options), common)
    if source.suffix == ".onnx":
        if labels is None:
            raise ModelError("An ONNX file has no labels. Give --labels FILE.")
        return from_onnx(source, labels=labels, wish=_wish(options), **common)
    if not options.architecture:
        raise ModelError(
            f"{source.name} holds weights only. Say whose they are, by torchvision's name:"
            " --architecture resnet18."
        )
    made: Made = _torch_model().from_torchvision(
        options.architecture, source, labels=labels, wish=_wish(options), **common
    )
    return made


def _of_folder(
    source: Path, labels: tuple[str, ...] | None, wish: Wish, common: dict[str, Any]
) -> Made:
    if huggingface.is_export(source):
        if labels is not None:
            raise ModelError(
                "The folder has labels of its own, in config.json. Leave out --labels."
            )
        return huggingface.from_huggingface(source, **common)
    if _is_timm(source):
        made: Made = _torch_model().from_timm(source, labels=labels, wish=wish, **common)
        return made
    files = sorted(each.name for each in source.iterdir())
    raise ModelError(
        f"{source} has {', '.join(files[:8]) or 'no files'}."
        " A folder of Hugging Face has config.json, preprocessor_config.json and an ONNX file. A"
        " folder of timm has config.json with an architecture, and model.safetensors."
    )


def _is_timm(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return "architecture" in config and (folder / "model.safetensors").is_file()


def _torch_model() -> Any:
    try:
        from workers.models import torch_model
    except ModuleNotFoundError as error:
        raise TorchNeeded("A checkpoint needs PyTorch to become a package.") from error
    return torch_model


def _wish(options: argparse.Namespace) -> Wish:
    given = read_preset(options.preset) if options.preset else {}
    names = {"image_size": "crop_size", "resize_size": "resize_size", "resize": "resize"}
    for option, name in (names | {"interpolation": "interpolation"}).items():
        if (value := getattr(options, option)) is not None:
            given[name] = value
    return Wish(given)


def _choices(options: argparse.Namespace) -> Choices:
    return Choices(
        layout=options.layout,
        output=options.output,
        activation=options.activation,
        channels=options.channels,
        rescale=1 / 255 if options.range == "0-1" else 1.0,
    )

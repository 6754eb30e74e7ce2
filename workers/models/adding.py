"""`python -m workers.models add`: recognises what a model comes in, and makes a package of it."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from shared.errors import ModelError, TorchNeeded
from workers.engine.package import Package
from workers.models import huggingface
from workers.models.files.json_file import read_object
from workers.models.labels import read_labels
from workers.models.making import Made, write_package
from workers.models.onnx_file import Choices, from_onnx
from workers.models.presets import NAMED, Wish, read_preset

_DEFAULTS = {"channels": "rgb", "range": "0-1"}

_PRESET_OPTIONS = ("preset", "image_size", "resize_size", "resize", "interpolation")
_ONNX_OPTIONS = ("layout", "output", "channels", "range")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", help="of the package: a-z, 0-9, `.`, `-` and `_`")
    add(
        *("source",),
        type=Path,
        metavar="SOURCE",
        help="an ONNX file, a checkpoint of PyTorch, or a folder of Hugging Face or timm",
    )
    add("--architecture", help="of a checkpoint: resnet18 of torchvision, timm/resnet18 of timm")
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
    add(
        *("--embedding",),
        metavar="NAME",
        help="an output of the ONNX file that describes a picture by numbers, to find similar ones;"
        " `features` for networks of torchvision and timm",
    )
    add(
        "--channels",
        choices=("rgb", "bgr"),
        default=_DEFAULTS["channels"],
        help="their order; default: rgb",
    )
    add(
        *("--range",),
        choices=("0-1", "0-255"),
        default=_DEFAULTS["range"],
        help="of the numbers that are normalised; default: 0-1",
    )
    add("--notice", default="", help="a remark that is shown with the results")
    add("--replace", action="store_true", help="replace a package of this name")


def add(options: argparse.Namespace, folder: Path) -> Package:
    """Make the package. Raises ModelError, and TorchNeeded if it needs PyTorch."""
    try:
        made = _made(options)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if not options.source.is_dir():
            raise
        # Settings of another program may have anything.
        raise ModelError(
            f"The settings in {options.source} are not what is expected: {error!r}."
        ) from error
    if options.notice:
        made = Made(**{**vars(made), "notice": options.notice})
    return write_package(made, folder, replace=options.replace)


def _made(options: argparse.Namespace) -> Made:
    source: Path = options.source
    if not source.exists():
        raise ModelError(f"{source} does not exist.")
    kind = _kind(source)
    _refuse_options_that_do_nothing(options, kind)
    column = options.label_column
    labels = read_labels(options.labels, column=column) if options.labels else None
    common: dict[str, Any] = {"name": options.name, "choices": _choices(options)}
    if kind == "huggingface":
        return huggingface.from_huggingface(source, **common)
    made: Made
    if kind == "timm":
        made = _needs_torch("timm_model").from_timm(source, labels=labels, **common)
        return made
    if kind == "onnx":
        if labels is None:
            raise ModelError("An ONNX file has no labels. Give --labels FILE.")
        return from_onnx(source, labels=labels, wish=_wish(options), **common)
    return _of_weights(options, labels, common)


def _of_weights(
    options: argparse.Namespace, labels: tuple[str, ...] | None, common: dict[str, Any]
) -> Made:
    if not options.architecture:
        raise ModelError(
            f"{options.source.name} holds weights only. Say whose they are, by the name of"
            " torchvision or timm: --architecture resnet18 or --architecture timm/resnet18."
        )
    library, _, architecture = options.architecture.rpartition("/")
    if library == "timm":
        make = _needs_torch("timm_model").from_timm_weights
    else:
        make, architecture = _needs_torch("torch_model").from_torchvision, options.architecture
    made: Made = make(architecture, options.source, labels=labels, wish=_wish(options), **common)
    return made


#: What a source is called, and the options that it does not need.
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "onnx": ("an ONNX file", ("architecture",)),
    "torchvision": ("a checkpoint of PyTorch", _ONNX_OPTIONS),
    "huggingface": (
        "a folder of Hugging Face, which says this itself",
        (*_PRESET_OPTIONS, "labels", "label_column", "architecture", "range"),
    ),
    "timm": (
        "a folder of timm, which says this itself",
        (*_PRESET_OPTIONS, *_ONNX_OPTIONS, "architecture"),
    ),
}


def _kind(source: Path) -> str:
    if not source.is_dir():
        return "onnx" if source.suffix == ".onnx" else "torchvision"
    if huggingface.is_export(source):
        return "huggingface"
    if _is_timm(source):
        return "timm"
    files = sorted(each.name for each in source.iterdir())
    raise ModelError(
        f"{source} has {', '.join(files[:8]) or 'no files'}."
        " A folder of Hugging Face has config.json, preprocessor_config.json and an ONNX file. A"
        " folder of timm has config.json with an architecture, and model.safetensors."
    )


def _is_timm(folder: Path) -> bool:
    config = folder / "config.json"
    return config.is_file() and "architecture" in read_object(config)


def _refuse_options_that_do_nothing(options: argparse.Namespace, kind: str) -> None:
    title, unused = _KINDS[kind]
    for name in unused:
        if getattr(options, name) != _DEFAULTS.get(name):
            option = f"--{name.replace('_', '-')}"
            raise ModelError(f"{options.source} is {title}. Leave out {option}.")


def _needs_torch(module: str) -> Any:
    """A module of this package that imports torch."""
    try:
        return import_module(f"workers.models.{module}")
    except ModuleNotFoundError as error:
        raise TorchNeeded("A checkpoint needs PyTorch to become a package.") from error


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
        embedding=options.embedding,
        activation=options.activation,
        channels=options.channels,
        rescale=1 / 255 if options.range == "0-1" else 1.0,
    )

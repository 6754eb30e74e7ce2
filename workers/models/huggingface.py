"""A package from a folder that Hugging Face's libraries have exported: ONNX beside its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.errors import ModelError
from workers.engine.export_file import file_digest
from workers.engine.package import Activation, Source
from workers.models.graph import ends_of
from workers.models.files.json_file import read_object
from workers.models.labels import labels_of
from workers.models.making import Made
from workers.models.onnx_file import Choices, packed, read_onnx
from workers.models.presets import Wish

_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"

#: Pillow's numbers, which the files contain.
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}

#: ConvNeXT's processor stretches pictures from this size on.
_STRETCHED = 384

_ACTIVATIONS: dict[str | None, Activation] = {
    None: "softmax",
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
}


def is_export(folder: Path) -> bool:
    return (folder / _CONFIG).is_file() and (folder / _PREPROCESSOR).is_file()


def from_huggingface(folder: Path, *, name: str, choices: Choices) -> Made:
    """Raises ModelError if something in the folder is missing or cannot be served."""
    config, preprocessor = (read_object(folder / each) for each in (_CONFIG, _PREPROCESSOR))
    path = _onnx_file(folder)
    labels = labels_of(config.get("id2label") or {}, f"id2label of {_CONFIG}")
    model = read_onnx(path)
    ends = ends_of(
        model,
        layout=choices.layout,
        output=choices.output or _logits(model),
        embedding=choices.embedding,
    )
    if ends.classes not in (None, len(labels)):
        raise ModelError(f"{path.name} has {ends.classes} classes; {_CONFIG} has {len(labels)}.")
    preset = wish_of(preprocessor).preset(ends.side)
    problem = config.get("problem_type")
    if problem not in _ACTIVATIONS:
        raise ModelError(f"{_CONFIG} says problem_type {problem}, which is no classification.")
    activation = choices.activation or _ACTIVATIONS[problem]
    rescale = preprocessor.get("rescale_factor", 1 / 255)
    choices = Choices(
        layout=choices.layout,
        output=choices.output,
        embedding=choices.embedding,
        channels="bgr" if preprocessor.get("do_flip_channel_order") else choices.channels,
        rescale=rescale if preprocessor.get("do_rescale", True) else 1.0,
    )
    return Made(
        onnx=packed(model, ends, preset, activation, choices),
        name=name,
        labels=labels,
        preset=preset,
        activation=activation,
        embedding=choices.embedding,
        source=Source(
            kind="huggingface",
            file=folder.name,
            digest=file_digest(path),
            architecture=", ".join(config.get("architectures") or ()),
        ),
    )


def wish_of(values: dict[str, Any]) -> Wish:
    """The preset that a `preprocessor_config.json` describes."""
    given: dict[str, Any] = {"margin": "down"} | _normalisation(values)
    if values.get("do_pad"):
        raise ModelError(f"{_PREPROCESSOR} pads pictures. Such models cannot be served.")
    resample = values.get("resample", 2)
    if resample not in _INTERPOLATIONS:
        raise ModelError(f"{_PREPROCESSOR} has the interpolation {resample}, which is not known.")
    given["interpolation"] = _INTERPOLATIONS[resample]
    crops = values.get("do_center_crop", False)
    if values.get("do_resize", True):
        given |= _resize(values.get("size"), values.get("crop_pct"), crops)
    if crops:
        given["crop_size"] = _square(values.get("crop_size"), "crop_size")
    return Wish(given)


def _normalisation(values: dict[str, Any]) -> dict[str, Any]:
    """Mean and deviation. Some processors subtract 1 first, or divide by the deviation twice."""
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if values.get("do_normalize", True):
        mean, std = _three(values, "image_mean"), _three(values, "image_std")
    if values.get("rescale_offset"):
        mean = tuple(each + 1 for each in mean)
    if values.get("include_top"):
        own = _three(values, "image_std")
        std = tuple(each * twice for each, twice in zip(std, own, strict=True))
    return {"mean": mean, "std": std}


def _three(values: dict[str, Any], name: str) -> tuple[float, ...]:
    """A number for each channel. A single number stands for all of them."""
    given = values.get(name)
    three = [given] * 3 if isinstance(given, int | float) else given
    if not isinstance(three, list | tuple) or not all(
        isinstance(each, int | float) for each in three
    ):
        raise ModelError(f"{_PREPROCESSOR} has the {name} {given}, which is no list of numbers.")
    return tuple(map(float, three))


def _resize(size: Any, share: float | None, crops: bool) -> dict[str, Any]:
    """`share` is the part of the resized picture that ConvNeXT keeps."""
    if isinstance(size, dict) and "shortest_edge" in size:
        side = size["shortest_edge"]
        if share and side >= _STRETCHED:
            return {"resize": "both", "resize_size": side, "crop_size": side}
        if share:
            return {"resize": "shorter", "resize_size": int(side / share), "crop_size": side}
        if not crops:
            raise ModelError(
                f"{_PREPROCESSOR} keeps the shape of pictures. Only models of square pictures can"
                " be served."
            )
        return {"resize": "shorter", "resize_size": side}
    if isinstance(size, int) and crops:
        return {"resize": "shorter", "resize_size": size}
    side = _square(size, "size")
    return {"resize": "both", "resize_size": side} | ({} if crops else {"crop_size": side})


def _square(size: Any, what: str) -> int:
    if isinstance(size, int):
        return size
    if isinstance(size, dict) and size.get("height") == size.get("width") is not None:
        return int(size["height"])
    raise ModelError(f"{_PREPROCESSOR} has the {what} {size}. Only squares can be served.")


def _logits(model: Any) -> str | None:
    names = [each.name for each in model.graph.output]
    return "logits" if "logits" in names else None


def _onnx_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.onnx")) or sorted(folder.glob("onnx/*.onnx"))
    named = [each for each in files if each.name == "model.onnx"]
    if len(files) == 1 or named:
        return (named or files)[0]
    if files:
        raise ModelError(f"{folder} has several ONNX files: {', '.join(f.name for f in files)}.")
    raise ModelError(
        f"{folder} has no ONNX file. Export it with `optimum-cli export onnx --model {folder} OUT`."
    )

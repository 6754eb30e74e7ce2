"""Presets: how a picture becomes the square of pixels that a model takes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.errors import ModelError
from workers.decode.preprocessing import Preset

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

#: Mean and deviation that many models use, by the name that people know.
NAMED: dict[str, dict[str, Any]] = {
    "imagenet": _IMAGENET,
    "inception": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "zero-to-one": {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    "clip": {
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    },
}

_FIELDS = [each.name for each in fields(Preset)]


@dataclass(frozen=True)
class Wish:
    """The parts of a preset that a user or a file has given."""

    given: dict[str, Any] = field(default_factory=dict)

    def preset(self, side: int | None) -> Preset:
        """The whole preset. `side` is what the model takes, None if it takes any size.

        Raises ModelError if a part is missing or impossible.
        """
        values = {"interpolation": "bilinear"} | self.given
        if side is not None and values.setdefault("crop_size", side) != side:
            raise ModelError(
                f"The model takes pictures of {side} pixels, not {values['crop_size']}."
            )
        if "crop_size" not in values:
            raise ModelError("The model does not say the size of its pictures. Give --image-size.")
        values.setdefault("resize_size", values["crop_size"])
        if "mean" not in values or "std" not in values:
            raise ModelError(
                "Nothing says how pictures are normalised. Give --preset:"
                f" {', '.join(NAMED)}, or a JSON file with mean and std."
            )
        return _valid(values)

    def of_bytes(self, file: str) -> Wish:
        """For a model that takes bytes. Raises ModelError if mean or deviation is given."""
        if self.given.keys() & {"mean", "std"}:
            raise ModelError(
                f"{file} takes pixels as bytes, so it normalises them itself. Leave out --preset,"
                " or mean and std of its file."
            )
        return Wish(self.given | NAMED["zero-to-one"])


def read_preset(text: str) -> dict[str, Any]:
    """The parts of a preset from its name or from a JSON file with the fields of `Preset`.

    Raises ModelError if it is neither, or has a field that presets do not have.
    """
    if text in NAMED:
        return dict(NAMED[text])
    path = Path(text)
    if not path.is_file():
        raise ModelError(f"--preset {text} is neither one of {', '.join(NAMED)} nor a file.")
    try:
        values = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}.") from error
    unknown = sorted(set(values) - set(_FIELDS)) if isinstance(values, dict) else ["a list"]
    if unknown:
        raise ModelError(f"{path} has {unknown[0]}; a preset has {', '.join(_FIELDS)}.")
    return dict(values)


def _valid(values: dict[str, Any]) -> Preset:
    try:
        preset = TypeAdapter(Preset).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"The preset's {first['loc'][0]}: {first['msg']}.") from error
    if min(preset.std) <= 0 or preset.crop_size < 1 or preset.resize_size < 1:
        raise ModelError("The deviation of a preset and its sizes must be greater than zero.")
    return preset

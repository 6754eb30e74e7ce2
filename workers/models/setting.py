"""`python -m workers.models set`: how sure a package must be of a label."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import onnx

from shared.errors import ModelError
from workers.engine.onnx_engine import MODEL_ENTRY
from workers.engine.package import Package, check_file, read_package, validated
from workers.models.making import Made, write_description, write_package
from workers.models.temperature import set_temperature

#: Removes a threshold.
_NONE = "none"


def set_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        *("--temperature",),
        type=float,
        metavar="T",
        help="divide the model's logits by it; `image-classifier evaluate` measures it",
    )
    add(
        *("--threshold",),
        metavar="0-1",
        help="the score that a label needs, unless --thresholds names it; `none` removes it",
    )
    add(
        *("--thresholds",),
        metavar="FILE",
        help="CSV with the columns label and threshold, or JSON as {label: threshold}; `none`"
        " removes them",
    )


def set_package(options: argparse.Namespace, folder: Path) -> Package:
    """Change a package. Raises ModelError if a value is impossible."""
    package = read_package(folder)
    given = {
        name: value
        for name in ("temperature", "threshold", "thresholds")
        if (value := getattr(options, name)) is not None
    }
    if not given:
        raise ModelError("Give --temperature, --threshold or --thresholds.")
    if "threshold" in given:
        given["threshold"] = None if given["threshold"] == _NONE else given["threshold"]
    if "thresholds" in given:
        given["thresholds"] = _read(given["thresholds"])
    changed = validated(package.model_dump() | given, "The package")
    if changed.temperature != package.temperature:
        return _tempered(changed, folder)
    write_description(changed, folder)
    return changed


def _tempered(package: Package, folder: Path) -> Package:
    """Write the package with another graph and with golden scores of it."""
    model = onnx.load(check_file(folder, package))
    entries = [each for each in model.metadata_props if each.key != MODEL_ENTRY]
    del model.metadata_props[:]
    model.metadata_props.extend(entries)
    set_temperature(model, package.temperature)
    made = Made(
        onnx=model.SerializeToString(),
        name=package.name,
        labels=package.labels,
        preset=package.preset,
        activation=package.activation,
        source=package.source,
        notice=package.notice,
        temperature=package.temperature,
        thresholds=package.thresholds,
        threshold=package.threshold,
        accuracy=package.accuracy,
        embedding=package.embedding.output if package.embedding else None,
    )
    return write_package(made, folder, replace=True)


def _read(text: str) -> dict[str, Any]:
    if text == _NONE:
        return {}
    path = Path(text)
    try:
        content = path.read_text("utf-8-sig")
        values = json.loads(content) if path.suffix == ".json" else None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    if isinstance(values, dict):
        return values
    head = content.partition("\n")[0]
    rows = csv.DictReader(content.splitlines(), delimiter=max(",;\t", key=head.count))
    if values is not None or not {"label", "threshold"} <= set(rows.fieldnames or ()):
        raise ModelError(
            f"{path.name} must be CSV with the columns label and threshold, or a JSON object"
            " {label: threshold}."
        )
    return {row["label"]: row["threshold"] for row in rows}

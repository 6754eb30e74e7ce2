"""Checks that an engine answers as the model package says that it has loaded."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import InvalidRequest, ModelError
from shared.settings import Settings
from workers.decode.preprocessing import decode
from workers.engine.model import Model, in_precision
from workers.engine.package import (
    DESCRIPTION_FILE,
    MODEL_FILE,
    Golden,
    Package,
    find_package,
    read_package,
)

#: Largest difference of a score from the golden one. In bf16 scores move by up to 0.04.
_TOLERANCE = {"fp32": 2e-3}
_OTHER_TOLERANCE = 0.06

#: The same in fp32 if the weights are float16. One engine rounds to float16 between the layers, and
#: another does not: scores of random weights differ by up to 0.007.
_FLOAT16_TOLERANCE = 0.02

#: Least cosine of an embedding and the golden one, which is rounded to float16.
_LEAST_COSINE = {"fp32": 0.9999}
_OTHER_LEAST_COSINE = 0.98

#: Fields of a Model that depend on `model.onnx`, so that `model.json` must agree with it.
_OF_THE_FILE = ("labels", "preset", "temperature", "embedding")

_MAX_PIXELS = 10_000_000


class Predictor(Protocol):
    """What a check needs of an engine."""

    model: Model
    precision: str

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]: ...

    def predict_and_embed(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...


def check_loaded(engine: Predictor, settings: Settings) -> None:
    """Give the engine the thresholds and the version of the package that MODEL names, if it is one.

    Raises ModelError if the engine answers otherwise than the package says.
    """
    if folder := find_package(settings):
        package = read_package(folder)
        check(engine, folder, package)
        # `model.onnx` has a copy of the description from before the thresholds were set.
        engine.model = in_precision(package.model, engine.precision)


def check(engine: Predictor, folder: Path, package: Package) -> None:
    """Raises ModelError if the engine has loaded another model than the package describes."""
    described = package.model
    if any(getattr(engine.model, each) != getattr(described, each) for each in _OF_THE_FILE):
        raise ModelError(
            f"{folder / DESCRIPTION_FILE} was changed after {MODEL_FILE} was made."
            " Make the package again with `python -m workers.models add --replace`. Set its"
            " temperature with `python -m workers.models set`."
        )
    check_golden(engine, folder, package)


def check_golden(engine: Predictor, folder: Path, package: Package) -> None:
    """Raises ModelError if a golden picture gets other scores than the package says."""
    tolerance = _TOLERANCE.get(engine.precision, _OTHER_TOLERANCE)
    if package.numbers == "float16":
        tolerance = max(tolerance, _FLOAT16_TOLERANCE)
    if not package.golden:
        raise ModelError(f"{folder / DESCRIPTION_FILE} has no golden pictures to check the model.")
    for golden in package.golden:
        pixels = _pixels(folder / golden.file, package)
        if package.embedding:
            [scores], [embedding] = engine.predict_and_embed(pixels)
            _check_embedding(embedding, golden, engine.precision, package)
        else:
            [scores] = engine.predict(pixels)
        for class_id, expected in golden.scores.items():
            difference = abs(scores[class_id] - expected) / max(1, abs(expected))
            if not difference <= tolerance:  # also if it is no number
                raise ModelError(
                    f"The model package {package.name} gives the label"
                    f" {package.labels[class_id]} a score of {scores[class_id]:.4f} for"
                    f" {golden.file}; {DESCRIPTION_FILE} says {expected:.4f}."
                )


def _pixels(path: Path, package: Package) -> NDArray[np.uint8]:
    """A golden picture, of shape (1, side, side, 3)."""
    try:
        data = path.read_bytes()
        return decode(data, package.preset, max_pixels=_MAX_PIXELS)[np.newaxis]
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    except InvalidRequest as error:  # what a user's picture would get
        raise ModelError(f"{path} is damaged. Copy the package once more. {error}") from error


def _check_embedding(
    embedding: NDArray[np.float32], golden: Golden, precision: str, package: Package
) -> None:
    try:
        expected = np.frombuffer(base64.b64decode(golden.embedding), "<f2").astype(np.float32)
    except ValueError:
        expected = np.empty(0, np.float32)
    least = _LEAST_COSINE.get(precision, _OTHER_LEAST_COSINE)
    fits = len(expected) == len(embedding)
    cosine = _cosine(embedding, expected) if fits else 0.0
    if not cosine >= least:  # also if it is no number
        raise ModelError(
            f"The model package {package.name} gives {golden.file} another embedding than"
            f" {DESCRIPTION_FILE} says: {len(embedding)} numbers with a cosine of {cosine:.4f}."
        )


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else float(np.array_equal(one, other))

"""Writes a package: all of it, or nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from shared.errors import ModelError
from workers.decode.preprocessing import Preset, decode
from workers.engine.export_file import file_digest
from workers.engine.graph import protobuf
from workers.engine.model import Model
from workers.engine.onnx_engine import MODEL_ENTRY, OnnxEngine
from workers.engine.package import (
    DESCRIPTION_FILE,
    MODEL_FILE,
    Activation,
    Embedding,
    Golden,
    Package,
    Source,
)
from workers.models.engines import check_engines
from workers.models.outputs import numbers_of

#: The golden pictures are drawn, so that a package holds nobody's photos. Width and height.
_GOLDEN_SIZES = ((320, 240), (200, 300), (256, 256))

#: Scores of each golden picture that are noted.
_GOLDEN_SCORES = 5

_METADATA = 14  # The number of the field in onnx.proto.

#: Largest difference of a score between the package and the library that the model comes from,
#: for the same pixels.
_TOLERANCE = 1e-3

#: Largest mean difference of pixels, of 255. It is up to 0.09 where resizing rounds some pixels
#: otherwise, and at least 0.4 where it is off by a pixel.
_PIXEL_TOLERANCE = 0.2


#: Largest change of an embedding by float16, as a share of its length.
_ROUNDED = 0.01


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The library that the model comes from."""

    #: Makes normalised pixels of a picture, float32 of shape (3, side, side).
    transform: Callable[[Image.Image], NDArray[np.float32]]
    #: Gives the scores of such pixels, of shape (classes,).
    scores: Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A model that is ready to become a package."""

    onnx: bytes  #: A file that takes pixels and gives scores.
    name: str
    labels: tuple[str, ...]
    preset: Preset
    activation: Activation
    source: Source
    notice: str = ""
    temperature: float = 1.0  #: By which the file divides the logits already.
    thresholds: Mapping[str, float] = field(default_factory=dict)
    threshold: float | None = None
    accuracy: float | None = None
    embedding: str | None = None  #: The name of the output that became the second one.
    reference: Reference | None = None


def write_package(made: Made, folder: Path, *, replace: bool = False) -> Package:
    """Write the package into `folder`, which must not exist unless `replace` is set.

    The scores of the golden pictures are compared with the reference, if there is one. Raises
    ModelError if the file cannot be run, has another number of classes, or answers differently,
    also with another engine.
    """
    if folder.exists() and not replace:
        raise ModelError(f"{folder} exists. Give another name, or --replace.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _folder_beside(folder) as partial:
        package = _write(made, partial)
        check_engines(partial)
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old, ignore_errors=True)
    return package


@contextmanager
def _folder_beside(folder: Path) -> Iterator[Path]:
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    partial.chmod(0o755)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(made: Made, folder: Path) -> Package:
    package = Package(
        name=made.name,
        labels=made.labels,
        preset=made.preset,
        activation=made.activation,
        source=made.source,
        notice=made.notice,
        temperature=made.temperature,
        numbers=numbers_of(made.onnx),
        thresholds=dict(made.thresholds),
        threshold=made.threshold,
        accuracy=made.accuracy,
        graph_digest=hashlib.sha256(made.onnx).hexdigest(),
        model_digest="",
        golden=(),
    )
    path = folder / MODEL_FILE
    path.write_bytes(made.onnx + _entry(package))
    engine = OnnxEngine.load(path)
    _check_classes(engine, made)
    package = _with_embedding(package, engine, made, path)
    golden = [
        _golden(engine, made, folder / f"golden-{number}.png", _drawing(*size))
        for number, size in enumerate(_GOLDEN_SIZES, 1)
    ]
    update = {"model_digest": file_digest(path), "golden": tuple(golden)}
    package = package.model_copy(update=update)
    write_description(package, folder)
    return package


def _with_embedding(package: Package, engine: OnnxEngine, made: Made, path: Path) -> Package:
    """Add the size of the embedding, which an ONNX file need not say. It is in `path`, too."""
    if made.embedding is None:
        return package
    side = made.preset.crop_size
    _, embeddings = engine.predict_and_embed(np.zeros((3, side, side, 3), np.uint8))
    if embeddings.ndim != 2 or len(embeddings) != 3:
        raise ModelError(
            f"The output {made.embedding} has the shape {embeddings.shape} for three pictures. An"
            " embedding is one vector for each picture."
        )
    embedding = Embedding(output=made.embedding, size=embeddings.shape[1])
    package = package.model_copy(update={"embedding": embedding})
    path.write_bytes(made.onnx + _entry(package))
    return package


def write_description(package: Package, folder: Path) -> None:
    """Write `model.json`, all of it or nothing."""
    has_thresholds = package.thresholds or package.threshold is not None
    package = package.model_copy(update={"format": 2 if has_thresholds else 1})
    path = folder / DESCRIPTION_FILE
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(package.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _entry(package: Package) -> bytes:
    """What adds the description to an ONNX file. It is appended, as in `graph.fill`."""
    description = TypeAdapter(Model).dump_json(package.model)
    return protobuf.field(
        _METADATA, protobuf.field(1, MODEL_ENTRY.encode()) + protobuf.field(2, description)
    )


def _golden(engine: OnnxEngine, made: Made, path: Path, picture: Image.Image) -> Golden:
    picture.save(path, "PNG")
    pixels = decode(path.read_bytes(), made.preset, max_pixels=10**7)
    embedding = ""
    if made.embedding:
        [scores], [vector] = engine.predict_and_embed(pixels[np.newaxis])
        embedding = _as_float16(vector, made.embedding)
    else:
        [scores] = engine.predict(pixels[np.newaxis])
    if made.reference:
        _compare(made.reference, picture, pixels, scores, made)
    best = np.argsort(-scores, kind="stable")[:_GOLDEN_SCORES]
    noted = {int(class_id): round(float(scores[class_id]), 6) for class_id in best}
    return Golden(file=path.name, scores=noted, embedding=embedding)


def _as_float16(vector: NDArray[np.float32], output: str) -> str:
    """As base64. Raises ModelError if the numbers are none, or too large."""
    if not np.abs(vector).max() <= np.finfo(np.float16).max:
        raise ModelError(
            f"The output {output} gives numbers that float16 cannot hold, such as"
            f" {vector[np.abs(vector).argmax()]:.4g}. Normalise it in the model."
        )
    stored = vector.astype("<f2")
    if np.linalg.norm(stored - vector) > _ROUNDED * np.linalg.norm(vector):
        raise ModelError(
            f"The output {output} gives numbers that are too small for float16: at most"
            f" {np.abs(vector).max():.4g}. Normalise it in the model."
        )
    return base64.b64encode(stored.tobytes()).decode()


def _check_classes(engine: OnnxEngine, made: Made) -> None:
    side = made.preset.crop_size
    scores = engine.predict(np.zeros((3, side, side, 3), np.uint8))
    classes = scores.shape[1]
    if classes != len(made.labels):
        raise ModelError(
            f"The model has {classes} classes, and there are {len(made.labels)} labels."
        )
    if not np.isfinite(scores).all():
        raise ModelError("The model gives scores that are no numbers.")


def _compare(
    reference: Reference,
    picture: Image.Image,
    pixels: NDArray[np.uint8],
    scores: NDArray[np.float32],
    made: Made,
) -> None:
    """Compare pixels with pixels, and scores of the same pixels.

    A model may answer a picture quite differently if a few pixels are rounded otherwise.
    """
    mean, std = (np.array(each, np.float32) for each in (made.preset.mean, made.preset.std))
    normalised = np.moveaxis((pixels / 255 - mean) / std, 2, 0).astype(np.float32, order="C")
    theirs = reference.transform(picture)
    if theirs.shape != normalised.shape:
        raise ModelError(
            f"The model's own library makes pictures of the shape {theirs.shape}; the preset says"
            f" {normalised.shape}."
        )
    off = 255 * float((np.abs(normalised - theirs) * std[:, None, None]).mean())
    if not off <= _PIXEL_TOLERANCE:
        raise ModelError(
            f"The package {made.name} would prepare pictures differently from the model's own"
            f" library: pixels differ by {off:.2g} of 255 on average."
        )
    expected = reference.scores(normalised)
    difference = float((np.abs(scores - expected) / np.maximum(1, np.abs(expected))).max())
    if not difference <= _TOLERANCE:
        raise ModelError(
            f"The package {made.name} would answer differently from the model's own library:"
            f" scores differ by up to {difference:.2g}."
        )


def _drawing(width: int, height: int) -> Image.Image:
    """Smooth waves of colours, which differ in every corner."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = [np.sin(9 * x + 4 * y), np.cos(7 * y - 3 * x), np.sin(5 * x * y + width / 100)]
    return Image.fromarray((127.5 * (np.stack(waves, axis=2) + 1)).astype(np.uint8))

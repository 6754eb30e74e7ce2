"""Compares OpenVINO in bf16 with ONNX Runtime, once for each export and kind of processor."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from shared.settings import Settings
from workers.engine.export_file import file_digest
from workers.engine.onnx_engine import OnnxEngine

if TYPE_CHECKING:
    from workers.engine.openvino_engine import OpenvinoEngine

logger = logging.getLogger(__name__)

#: Largest accepted change of a probability. On real pictures it is mostly below 0.02.
LARGEST_CHANGE = 0.05

#: Best probabilities that are further apart are clear, so the best label must stay.
_CLEAR = 0.05

_PICTURES = 32
_CELLS = (2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    passed: bool
    largest_change: float  #: Of a probability.
    other_labels: int  #: Pictures whose clear best label changes.
    speed: float  #: Of bf16, as a multiple of that of fp32.

    def __str__(self) -> str:
        return (
            f"probabilities change by up to {self.largest_change:.3f}, the clear best label of"
            f" {self.other_labels} of {_PICTURES} pictures, and the speed is {self.speed:.1f} times"
            " that of fp32"
        )


def stored(path: Path, settings: Settings) -> Verdict | None:
    """The verdict for an export on this kind of processor, or None if it was not compared yet."""
    try:
        return TypeAdapter(Verdict).validate_json(_file(path, settings).read_bytes())
    except (OSError, ValidationError):
        return None


def compare(engine: OpenvinoEngine, path: Path, settings: Settings) -> Verdict:
    """Compare a loaded engine with ONNX Runtime on generated pictures, and store the verdict."""
    pictures = generated(engine.model.preset.crop_size)
    reference = OnnxEngine.load(path, settings.model_labels)
    expected, reference_seconds = _timed(reference, pictures)
    actual, seconds = _timed(engine, pictures)
    verdict = judged(expected, actual, speed=reference_seconds / seconds)
    logger.info("bf16 %s: %s", "is used" if verdict.passed else "is not used", verdict)
    # A folder that is read-only, as in an image, holds no verdict. The next start compares again.
    with suppress(OSError):
        _store(_file(path, settings), json.dumps(asdict(verdict)))
    return verdict


def judged(expected: NDArray[np.float32], actual: NDArray[np.float32], *, speed: float) -> Verdict:
    """The verdict on probabilities of shape (pictures, classes)."""
    change = float(np.abs(actual - expected).max())
    second, best = np.sort(np.pad(expected, ((0, 0), (1, 0))), axis=1)[:, -2:].T
    # Where all probabilities are low, twice the second one is clear, too.
    clear = (best - second > _CLEAR) | (best > 2 * second)
    others = int((clear & (actual.argmax(axis=1) != expected.argmax(axis=1))).sum())
    # A comparison with a value that is no number is False.
    passed = change <= LARGEST_CHANGE and others == 0 and speed > 1
    return Verdict(passed=passed, largest_change=change, other_labels=others, speed=speed)


def generated(side: int) -> NDArray[np.uint8]:
    """Squares of random colours, of several sizes, sharp and blurred. They never change."""
    random = np.random.default_rng(0)
    pictures = []
    for number in range(_PICTURES):
        cells = _CELLS[number % len(_CELLS)]
        small = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        kinds = (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)
        kind = kinds[number // len(_CELLS) % len(kinds)]
        pictures.append(np.asarray(small.resize((side, side), kind)))
    return np.stack(pictures)


def _timed(
    engine: OnnxEngine | OpenvinoEngine, pictures: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], float]:
    """The probabilities, and the least processor time of a full batch.

    The least is hardly disturbed by other programs. The first batch allocates memory.
    """
    size, seconds, rows = engine.pictures_at_once, [], []
    for first in range(0, len(pictures), size):
        began = time.process_time()
        rows.append(engine.predict(pictures[first : first + size]))
        seconds.append(time.process_time() - began)
    return np.concatenate(rows), min(seconds)


def _file(path: Path, settings: Settings) -> Path:
    """The file of the verdict, for this content of the export and this kind of processor.

    Workers with other processors may share MODELS_DIR. A model package is copied to other machines,
    so it never holds a verdict.
    """
    from workers.engine import openvino_engine  # May not be installed where `judged` is used.

    bounds = f"{LARGEST_CHANGE} {_CLEAR} {_PICTURES}"
    case = f"{openvino_engine.processor()} {bounds} {file_digest(path)}"
    digest = hashlib.sha256(case.encode()).hexdigest()
    return settings.models_dir / f"{path.name}.bf16-{digest[:12]}.json"


def _store(path: Path, text: str) -> None:
    """Write a file that other processes see whole. Several may compare at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    os.replace(partial, path)

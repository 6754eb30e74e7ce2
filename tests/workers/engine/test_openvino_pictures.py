"""OpenVINO gives real pictures the labels of ONNX Runtime. No torch is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.settings import Settings
from workers.decode.preprocessing import decode
from workers.engine import bf16_check, load_engine
from workers.engine.bf16_check import LARGEST_CHANGE
from workers.engine.openvino_engine import OpenvinoEngine, computes_bf16

#: The bound of the check holds for the check's own pictures. Of 100 real ones, one changed by 0.055
#: on an AMD EPYC.
LARGEST_CHANGE_OF_REAL_ONES = 1.5 * LARGEST_CHANGE


@pytest.fixture(scope="module")
def settings(model_environment: dict[str, str]) -> Settings:
    names = ("model_weights", "models_dir")
    return Settings(engine="openvino", **{name: model_environment[name.upper()] for name in names})


@pytest.fixture(scope="module")
def pixels(settings: Settings, pictures: list[Path]) -> NDArray[np.uint8]:
    preset = load_engine(settings).model.preset
    return np.stack([decode(each.read_bytes(), preset, max_pixels=10**8) for each in pictures])


@pytest.fixture(scope="module")
def expected(settings: Settings, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return load_engine(settings.model_copy(update={"engine": "onnxruntime"})).predict(pixels)


def test_fp32_gives_the_probabilities_of_onnx_runtime(
    settings: Settings, pixels: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    engine = load_engine(settings.model_copy(update={"precision": "fp32", "worker_processes": 2}))
    actual = engine.predict(pixels)
    assert np.abs(actual - expected).max() < 1e-3
    assert (actual.argmax(axis=1) == expected.argmax(axis=1)).all()
    alone = engine.predict(pixels[:1], alone=True)
    assert np.abs(alone - expected[:1]).max() < 1e-3


@pytest.fixture(scope="module")
def in_bf16(settings: Settings) -> OpenvinoEngine:
    if not computes_bf16():
        pytest.skip("this processor has no bf16")
    engine = load_engine(settings.model_copy(update={"precision": "bf16"}))
    assert isinstance(engine, OpenvinoEngine)
    return engine


def test_bf16_gives_nearly_the_same_probabilities(
    in_bf16: OpenvinoEngine, pixels: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    actual = in_bf16.predict(pixels)
    assert 1e-5 < np.abs(actual - expected).max() <= LARGEST_CHANGE_OF_REAL_ONES
    assert (actual.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.98


def test_bf16_depends_little_on_the_batch(
    in_bf16: OpenvinoEngine, pixels: NDArray[np.uint8]
) -> None:
    together = in_bf16.predict(pixels[:8])
    for size in (1, 4):
        batches = [in_bf16.predict(pixels[k : k + size]) for k in range(0, 8, size)]
        assert np.abs(np.concatenate(batches) - together).max() < LARGEST_CHANGE / 2


def test_bf16_passes_the_comparison(in_bf16: OpenvinoEngine, settings: Settings) -> None:
    """Its speed is not asserted here, because other programs may run."""
    pictures = bf16_check.generated(in_bf16.model.preset.crop_size)
    reference = load_engine(settings.model_copy(update={"engine": "onnxruntime"}))
    verdict = bf16_check.judged(reference.predict(pictures), in_bf16.predict(pictures), speed=2.0)
    assert verdict.passed, verdict

"""The CPU engine, with an export that needs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.settings import Settings
from tests.workers.engine.tiny_export import MODEL, onnx_file, tiny_settings
from workers.engine import find_export, load_engine

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tiny(tmp_path: Path) -> Settings:
    return tiny_settings(tmp_path)


def noise(pictures: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (pictures, 32, 32, 3), np.uint8)


def test_a_picture_gets_one_row_of_probabilities(tiny: Settings) -> None:
    engine = load_engine(tiny)
    colours = 255 * np.eye(3, dtype=np.uint8)[:, None, None].repeat(32, 1).repeat(32, 2)
    probabilities = engine.predict(colours)
    assert engine.name == "onnxruntime"
    assert engine.model == MODEL
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (3, 3))
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert probabilities.argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("pictures", [1, 7, 8, 9, 32])
def test_a_picture_gets_the_same_probabilities_in_any_batch(tiny: Settings, pictures: int) -> None:
    engine = load_engine(tiny)
    batch = noise(pictures)
    alone = np.concatenate([engine.predict(each[None]) for each in batch])
    assert np.abs(engine.predict(batch) - alone).max() < 1e-6


def test_several_threads_give_the_same_probabilities(tiny: Settings) -> None:
    engine = load_engine(tiny.model_copy(update={"worker_processes": 2}))
    picture = noise(1)
    assert np.abs(engine.predict(picture, alone=True) - engine.predict(picture)).max() < 1e-6


def test_labels_from_a_file_change_the_version(tiny: Settings, tmp_path: Path) -> None:
    versions = set()
    for word in ("class", "Klasse"):
        file = tmp_path / f"{word}.txt"
        file.write_text("\n".join(f"{word} {i}" for i in range(3)), encoding="utf-8")
        model = load_engine(tiny.model_copy(update={"model_labels": file})).model
        assert model.labels[:2] == (f"{word} 0", f"{word} 1")
        versions.add(model.version)
    assert len(versions) == 2
    assert all(version.startswith(f"{MODEL.version}-l") for version in versions)


def test_too_few_labels_are_a_model_error(tiny: Settings, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("cat\ndog\n", encoding="utf-8")
    with pytest.raises(ModelError, match="2 labels, but tiny has 3 classes"):
        load_engine(tiny.model_copy(update={"model_labels": file}))


def test_without_an_export_the_error_names_the_command(tmp_path: Path) -> None:
    settings = Settings(model_weights="random", engine="onnxruntime", data_dir=tmp_path)
    with pytest.raises(ModelError, match="python -m workers.engine.export"):
        load_engine(settings)


@pytest.mark.parametrize("damage", [lambda whole: whole[:-100], lambda whole: b"", bytes.upper])
def test_a_damaged_export_is_a_model_error_that_names_the_file(
    tiny: Settings, damage: Callable[[bytes], bytes]
) -> None:
    path = find_export(tiny)
    assert path
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=str(path)):
        load_engine(tiny)


def test_an_onnx_file_without_our_metadata_is_a_model_error(tiny: Settings) -> None:
    path = find_export(tiny)
    assert path
    path.write_bytes(onnx_file({}))
    with pytest.raises(ModelError, match="not a complete export"):
        load_engine(tiny)


def test_onnx_runtime_stores_no_telemetry(tmp_path: Path) -> None:
    """By default it creates an identifier of the machine and a queue of data to send."""
    code = "import workers.engine.onnx_engine, sys; assert 'onnxruntime' in sys.modules"
    # Under continuous integration it would store none anyway.
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert not list(tmp_path.iterdir())

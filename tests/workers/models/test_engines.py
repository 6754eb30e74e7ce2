"""A package that `add` has made starts with each engine of the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelError
from shared.settings import Settings
from tests.workers.models.pets import PACKAGE, add_pets
from workers.engine import load_engine
from workers.engine.package import read_package

pytestmark = pytest.mark.usefixtures("own_folder")


def load(**settings: Any) -> None:
    load_engine(Settings(model="pets", **settings))


@pytest.mark.usefixtures("every_engine")
def test_a_package_of_float16_starts_with_each_engine() -> None:
    assert add_pets(kind="float16") == 0
    assert read_package(PACKAGE).numbers == "float16"
    load(engine="openvino", precision="fp32")
    load(engine="onnxruntime")


@pytest.mark.usefixtures("every_engine")
def test_a_package_that_an_engine_answers_otherwise_is_not_made(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from workers.engine.openvino_engine import OpenvinoEngine

    predict = OpenvinoEngine.predict
    monkeypatch.setattr(
        OpenvinoEngine, "predict", lambda self, pixels: 0.97 * predict(self, pixels)
    )
    assert add_pets(kind="float32") == 2
    message = capsys.readouterr().err
    assert message.startswith("A worker with ENGINE=openvino and PRECISION=fp32 would not start")
    assert "model.json says" in message and not PACKAGE.exists()


@pytest.mark.usefixtures("every_engine")
def test_packages_of_the_same_file_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On each machine: what a processor with bf16 has found is not in the package."""
    from workers.engine import openvino_engine

    load_in = openvino_engine.OpenvinoEngine.load
    assert add_pets(kind="float32") == 0
    one = content_of(PACKAGE)
    monkeypatch.setattr(openvino_engine, "computes_bf16", lambda: True)
    monkeypatch.setattr(
        openvino_engine.OpenvinoEngine,
        "load",
        lambda *arguments, **options: load_in(*arguments, **options | {"precision": "fp32"}),
    )
    assert add_pets("--replace", kind="float32") == 0
    load()
    assert content_of(PACKAGE) == one
    assert sorted(one) == [*(f"golden-{n}.png" for n in (1, 2, 3)), "model.json", "model.onnx"]


def content_of(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


@pytest.mark.parametrize(
    "kind, change, fits",
    [
        ("float32", 1e-3, True),
        ("float32", 5e-3, False),
        ("float16", 1.5e-2, True),
        ("float16", 3e-2, False),
    ],
)
def test_the_tolerance_follows_the_number_format_of_the_weights(
    kind: str, change: float, fits: bool
) -> None:
    assert add_pets(kind=kind) == 0
    path = PACKAGE / "model.json"
    description = json.loads(path.read_text())
    assert description["numbers"] == kind
    scores = description["golden"][0]["scores"]
    scores["0"] += change
    path.write_text(json.dumps(description))
    if fits:
        return load(engine="onnxruntime")
    with pytest.raises(ModelError, match="gives the label red a score"):
        load(engine="onnxruntime")


def test_a_package_of_an_earlier_release_has_weights_of_float32() -> None:
    assert add_pets(kind="float32") == 0
    path, version = PACKAGE / "model.json", read_package(PACKAGE).version
    description = json.loads(path.read_text())
    del description["numbers"]
    path.write_text(json.dumps(description))
    package = read_package(PACKAGE)
    assert (package.numbers, package.version) == ("float32", version)

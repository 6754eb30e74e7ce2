"""A package may name a second output of its file as the embedding."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.settings import Settings
from tests.workers.models.onnx_models import SIDE
from tests.workers.models.pets import PACKAGE, add_pets
from workers.engine import Engine, load_engine
from workers.engine.onnx_engine import OnnxEngine
from workers.engine.package import read_package
from workers.models.__main__ import main
from workers.models.presets import NAMED

pytestmark = pytest.mark.usefixtures("own_folder")


def pictures(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (number, SIDE, SIDE, 3), np.uint8)


def of_file(name: str, pixels: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """What the model's own file gives for this output, one picture at a time."""
    mean, std = (np.array(NAMED["imagenet"][each]) for each in ("mean", "std"))
    images = ((pixels / 255 - mean) / std).astype(kind).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession("pets.onnx", providers=["CPUExecutionProvider"])
    rows = [session.run([name], {"images": each[None]})[0] for each in images]
    return np.concatenate(rows).reshape(len(pixels), -1).astype(np.float32)


def loaded(name: str) -> Engine:
    return load_engine(Settings(model="pets", engine=name, precision="fp32"))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "output, file",
    [
        ("Flatten3", {"second": "Flatten"}),
        ("GlobalAveragePool2", {"second": "GlobalAveragePool"}),
        ("Flatten3", {"second": "Flatten", "kind": "float16"}),
        ("Flatten3", {"second": "Flatten", "batch": 1}),
        ("Flatten3", {"second": "Flatten", "names": ("images", "embedding")}),
    ],
)
def test_the_embedding_is_that_of_the_file(output: str, file: dict[str, Any], engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    assert add_pets("--embedding", output, **file) == 0
    pixels = pictures(9)
    model = loaded(engine)
    assert model.model.embedding == 8
    scores, embeddings = model.predict_and_embed(pixels)
    expected = of_file(output, pixels, file.get("kind", "float32"))
    tolerance = 5e-3 if file.get("kind") == "float16" else 1e-5
    assert np.abs(embeddings - expected).max() <= tolerance * np.abs(expected).max()
    assert np.array_equal(scores, model.predict(pixels))
    [one], [of_one] = model.predict_and_embed(pixels[:1], alone=True)
    assert np.allclose(one, scores[0], atol=1e-5) and np.allclose(of_one, embeddings[0], rtol=1e-3)


def test_show_names_the_embedding_and_its_size(capsys: Any) -> None:
    assert add_pets("--embedding", "Flatten3", second="Flatten") == 0
    assert main(["show", "pets"]) == 0
    assert "embedding  8 numbers, the output Flatten3" in capsys.readouterr().out
    assert main(["check", "pets"]) == 0
    assert add_pets(second="Flatten", *["--output", "scores", "--replace"]) == 0
    assert main(["show", "pets"]) == 0
    assert (
        "embedding" not in capsys.readouterr().out.partition("pets-")[2].partition("embedding ")[2]
    )


def test_a_package_without_an_embedding_keeps_its_version() -> None:
    assert add_pets() == 0
    plain = json.loads((PACKAGE / "model.json").read_text())
    assert plain["embedding"] is None
    del plain["embedding"]
    for golden in plain["golden"]:
        del golden["embedding"]
    version = read_package(PACKAGE).version
    (PACKAGE / "model.json").write_text(json.dumps(plain))  # as an earlier release has written it
    assert read_package(PACKAGE).version == version
    assert loaded("onnxruntime").model.embedding == 0


def test_workers_of_an_earlier_release_have_another_version() -> None:
    """They load the package and would answer without an embedding."""
    assert add_pets("--embedding", "Flatten3", second="Flatten") == 0
    package = read_package(PACKAGE)
    assert package.format == 1, "an earlier release reads it"
    assert package.model_copy(update={"embedding": None}).version != package.version


def test_the_temperature_keeps_the_embedding() -> None:
    assert add_pets("--embedding", "Flatten3", second="Flatten") == 0
    before = loaded("onnxruntime").predict_and_embed(pictures(3))[1]
    assert main(["set", "pets", "--temperature", "2"]) == 0
    assert np.allclose(loaded("onnxruntime").predict_and_embed(pictures(3))[1], before)


def test_a_worker_refuses_a_package_with_another_embedding() -> None:
    assert add_pets("--embedding", "Flatten3", second="Flatten") == 0
    path = PACKAGE / "model.json"
    description = json.loads(path.read_text())
    other = np.arange(8, dtype="<f2")[::-1].tobytes()
    description["golden"][1]["embedding"] = base64.b64encode(other).decode()
    path.write_text(json.dumps(description))
    with pytest.raises(ModelError, match="gives golden-2.png another embedding than model.json"):
        loaded("onnxruntime")


@pytest.mark.parametrize(
    "options, file, message",
    [
        (["features"], {}, "The model has no output features. It has scores (n, 4)."),
        (
            ["Relu1"],
            {"second": "Relu"},
            "The output Relu1 cannot be the embedding: it is FLOAT of the shape (n, 8, 24, 24). An"
            " embedding is one vector of floats for each picture: (n, size) or (n, size, 1, 1).",
        ),
        (["scores"], {}, "The model has no output beside scores, so it gives no scores."),
    ],
)
def test_an_output_that_cannot_be_the_embedding(
    options: list[str], file: dict[str, Any], message: str, capsys: Any
) -> None:
    assert add_pets("--embedding", *options, **file) == 2
    assert capsys.readouterr().err.strip() == message
    assert not PACKAGE.exists()


def test_numbers_that_float16_cannot_hold(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    whole = OnnxEngine.predict_and_embed

    def large(self: OnnxEngine, pixels: NDArray[np.uint8], *, alone: bool = False) -> Any:
        scores, embeddings = whole(self, pixels, alone=alone)
        return scores, embeddings * 1e7

    monkeypatch.setattr(OnnxEngine, "predict_and_embed", large)
    assert add_pets("--embedding", "Flatten3", second="Flatten") == 2
    pattern = r"The output Flatten3 gives numbers that float16 cannot hold, such as [-\d.e+]+\. "
    assert re.match(pattern, capsys.readouterr().err)

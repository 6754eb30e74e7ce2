"""A shipped graph and weights make an export, without torch."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter
from safetensors.numpy import save_file

from client.cli.demo import sample_pictures
from shared.errors import ModelError, TorchNeeded
from shared.settings import Settings
from tests.workers.engine.state_dict import default_state, pth_bytes
from tests.workers.engine.without_torch import run_without_torch
from workers.decode.preprocessing import PREPROCESSING_VERSION, decode
from workers.engine import find_export, load_engine
from workers.engine.export import export
from workers.engine.graph import fill
from workers.engine.graph.graph import weights_of
from workers.engine.weights.pth_file import Arrays
from workers.engine.weights.weights_file import DESCRIPTION_ENTRY, Description

ROOT = Path(__file__).parents[3]


def settings(folder: Path, weights: str, **others: object) -> Settings:
    fields: dict[str, object] = {"model": "mobilenet_v3_large", "model_labels": None}
    fields |= {"engine": "onnxruntime", "data_dir": folder, "models_dir": folder / "models"}
    return Settings(model_weights=weights, **(fields | others))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pth"
    path.write_bytes(pth_bytes(default_state()))
    return path


def test_the_demonstration_model_recognises_a_cat_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules.update(torch=None, torchvision=None, onnx=None)\n"
        "from workers.engine.export import main; sys.exit(main())"
    )
    environment = {"MODEL_WEIGHTS": "demonstration", "DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)
    engine = load_engine(settings(tmp_path, "demonstration"))
    picture = decode(sample_pictures()[0].read_bytes(), engine.model.preset, max_pixels=10**8)
    [scores] = engine.predict(picture[None])
    assert engine.model.labels[scores.argmax()] == "cat"
    assert engine.model.version == (
        f"mobilenet_v3_large-demonstration-3f0546710ae9-p{PREPROCESSING_VERSION}"
    )


def test_a_file_by_torch_save_becomes_an_export(tmp_path: Path, weights: Path) -> None:
    asked = settings(tmp_path, str(weights))
    path = export(asked)
    assert path == find_export(asked)
    engine = load_engine(asked)
    digest = engine.model.weights_digest
    assert engine.model.version == f"mobilenet_v3_large-{digest[:12]}-p{PREPROCESSING_VERSION}"
    assert (engine.model.weights, engine.model.labels[0]) == ("mine.pth", "tench")
    probabilities = engine.predict(np.zeros((9, 224, 224, 3), np.uint8))
    assert probabilities.shape == (9, 1000)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_both_kinds_of_file_give_the_same_probabilities(tmp_path: Path, weights: Path) -> None:
    save_file(default_state(), tmp_path / "mine.safetensors")
    noise = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    results = []
    for path in (weights, tmp_path / "mine.safetensors"):
        asked = settings(tmp_path, str(path))
        export(asked)
        results.append(load_engine(asked).predict(noise))
    assert np.array_equal(*results)


def test_a_safetensors_file_in_bfloat16_can_be_used(tmp_path: Path) -> None:
    tensors, numbers = {}, b""
    for name, array in default_state().items():
        content = (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        offsets = [len(numbers), len(numbers) + len(content)]
        tensors[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": offsets}
        numbers += content
    header = json.dumps(tensors).encode()
    path = tmp_path / "half.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + numbers)
    asked = settings(tmp_path, str(path))
    export(asked)
    assert load_engine(asked).predict(np.zeros((1, 224, 224, 3), np.uint8)).shape == (1, 1000)


def test_a_head_with_other_classes_needs_labels_and_no_torch(tmp_path: Path) -> None:
    path, labels = tmp_path / "three.pth", tmp_path / "labels.txt"
    path.write_bytes(pth_bytes(default_state(classes=3)))
    with pytest.raises(ModelError, match="3 classes.*MODEL_LABELS"):
        fill.write_export(settings(tmp_path, str(path)))
    labels.write_text("cat\ndog\nfox\n", encoding="utf-8")
    asked = settings(tmp_path, str(path), model_labels=labels)
    export(asked)
    engine = load_engine(asked)
    assert engine.model.labels == ("cat", "dog", "fox")
    assert engine.predict(np.zeros((1, 224, 224, 3), np.uint8)).shape == (1, 3)


def remove(state: Arrays) -> None:
    del state["features.0.0.weight"]


def add(state: Arrays) -> None:
    state["features.99.weight"] = np.zeros(1, np.float32)


def transpose(state: Arrays) -> None:
    state["classifier.0.weight"] = state["classifier.0.weight"].T.copy()


def shorten_the_bias(state: Arrays) -> None:
    state["classifier.3.bias"] = state["classifier.3.bias"][:3]


def forget_the_head(state: Arrays) -> None:
    del state["classifier.3.bias"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (remove, "they have no features.0.0.weight"),
        (add, "they have an unknown features.99.weight"),
        (transpose, r"classifier.0.weight has the shape \(960, 1280\), not \(1280, 960\)"),
        (shorten_the_bias, r"classifier.3.weight has the shape \(1000, 1280\), not \(3, 1280\)"),
        (forget_the_head, "they have no classifier.3.bias"),
    ],
)
def test_weights_of_another_network_are_a_model_error(
    tmp_path: Path, change: Callable[[Arrays], None], reason: str
) -> None:
    state = default_state()
    change(state)
    path = tmp_path / "odd.pth"
    path.write_bytes(pth_bytes(state))
    with pytest.raises(ModelError, match=f"odd.pth do not fit MODEL=mobilenet_v3_large: {reason}"):
        export(settings(tmp_path, str(path)))
    assert not list((tmp_path / "models").glob("*.onnx*"))


def test_weights_that_are_no_numbers_are_a_model_error(tmp_path: Path) -> None:
    state = default_state()
    state["features.0.0.weight"] = np.full_like(state["features.0.0.weight"], np.nan)
    path = tmp_path / "nan.pth"
    path.write_bytes(pth_bytes(state))
    with pytest.raises(ModelError, match="gives no probabilities"):
        export(settings(tmp_path, str(path)))
    assert not list((tmp_path / "models").glob("*.onnx*"))


def test_counters_of_batches_may_be_missing(tmp_path: Path, weights: Path) -> None:
    state = {n: a for n, a in default_state().items() if not n.endswith("num_batches_tracked")}
    path = tmp_path / "fewer.pth"
    path.write_bytes(pth_bytes(state))
    export(settings(tmp_path, str(path)))


def test_a_damaged_file_is_a_model_error_that_names_it(tmp_path: Path, weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="mine.pth cannot be read as weights"):
        export(settings(tmp_path, str(weights)))


def described(folder: Path, description: Description) -> str:
    path = folder / "described.safetensors"
    entry = TypeAdapter(Description).dump_json(description).decode()
    save_file({"a": np.zeros(1, np.float32)}, path, {DESCRIPTION_ENTRY: entry})
    return str(path)


def description(**fields: object) -> Description:
    weights = weights_of("mobilenet_v3_large")
    assert weights
    usual = TypeAdapter(Description).dump_python(weights.description)
    return TypeAdapter(Description).validate_python(usual | fields)


def test_what_no_graph_is_shipped_for_needs_torch(tmp_path: Path) -> None:
    old = tmp_path / "old.pth"
    old.write_bytes(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")
    named = described(tmp_path, description(architecture="resnet18"))
    enlarged = described(tmp_path, description(enlarged_size=65))
    for asked, what in (
        (settings(tmp_path, "DEFAULT", model="resnet50"), "MODEL=resnet50"),
        (settings(tmp_path, "DEFAULT", model="../graph/mobilenet_v3_large"), "MODEL=../"),
        (settings(tmp_path, "random"), "MODEL_WEIGHTS=random"),
        (settings(tmp_path, str(old)), "old.pth, a file of PyTorch 1.5 or older,"),
        (settings(tmp_path, named), "MODEL="),
        (settings(tmp_path, enlarged), "MODEL=mobilenet_v3_large"),
    ):
        with pytest.raises(TorchNeeded, match=f"^{what}"):
            fill.write_export(asked)


@pytest.mark.parametrize("command", ["export", "fetch"])
def test_without_torch_the_error_names_the_command_that_installs_it(
    tmp_path: Path, command: str
) -> None:
    run = run_without_torch(command, tmp_path, "resnet50")
    assert run.returncode == (3 if command == "export" else 2)
    assert run.stderr == (
        "MODEL=resnet50 needs PyTorch once. "
        "Install it with `make torch`, or `pip install -r requirements/torch.txt`.\n"
    )

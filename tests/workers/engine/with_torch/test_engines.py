"""Both engines give real pictures the right classes, and agree with each other."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.errors import ModelError
from shared.settings import Settings
from workers.engine import Engine, load_engine
from workers.engine.labels import top
from workers.decode.preprocessing import decode

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[4]


def noise(engine: Engine, pictures: int) -> NDArray[np.uint8]:
    side = engine.model.preset.crop_size
    return np.random.default_rng(0).integers(0, 256, (pictures, side, side, 3), np.uint8)


@pytest.mark.parametrize("name", ["onnxruntime", "torch-cpu"])
def test_a_picture_gets_one_row_of_probabilities(random_settings: Settings, name: str) -> None:
    engine = load_engine(random_settings.model_copy(update={"engine": name}))
    assert engine.name == name.removesuffix("-cpu")
    probabilities = engine.predict(noise(engine, 3))
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (3, len(engine.model.labels)) == (3, 1000)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("pictures", [1, 7, 8, 9, 32])
def test_a_picture_gets_the_same_probabilities_in_any_batch(
    real_settings: Settings, pictures: int
) -> None:
    engine = load_engine(real_settings)
    batch = noise(engine, pictures)
    alone = np.concatenate([engine.predict(each[None]) for each in batch])
    assert np.abs(engine.predict(batch) - alone).max() < 1e-4


def test_several_threads_give_the_same_probabilities(real_settings: Settings) -> None:
    engine = load_engine(real_settings.model_copy(update={"worker_processes": 2}))
    [picture] = noise(engine, 1)
    scores = engine.predict(picture[None], alone=True)
    assert np.abs(scores - engine.predict(picture[None])).max() < 1e-5
    assert scores.sum() == pytest.approx(1, abs=1e-5)


@dataclass(frozen=True)
class Answers:
    """Probabilities of the hundred pictures, each of shape (100, 1000)."""

    onnx: NDArray[np.float32]
    torch: NDArray[np.float32]
    reference: NDArray[np.float32]  #: From torchvision's own transforms and model, in fp32.
    labels: tuple[str, ...]


@pytest.fixture(scope="session")
def answers(real_settings: Settings, real_weights: Path, pictures: list[Path]) -> Answers:
    onnx = load_engine(real_settings)
    torch = load_engine(real_settings.model_copy(update={"engine": "torch-cpu"}))
    preset = onnx.model.preset
    pixels = np.stack([decode(each.read_bytes(), preset, max_pixels=10**8) for each in pictures])
    return Answers(
        onnx=onnx.predict(pixels),
        torch=torch.predict(pixels),
        reference=torchvision_answers(real_weights, pictures),
        labels=onnx.model.labels,
    )


def torchvision_answers(weights: Path, pictures: list[Path]) -> NDArray[np.float32]:
    """Probabilities from torchvision alone, without any code of ours."""
    import torch
    from safetensors.torch import load_file

    from workers.engine.torchvision_model import torchvision

    network = torchvision.models.mobilenet_v3_large()
    network.load_state_dict(load_file(weights))
    network.eval()
    transform = torchvision.models.MobileNet_V3_Large_Weights.DEFAULT.transforms()
    rows = []
    with torch.inference_mode():
        for path in pictures:
            with Image.open(path) as picture:
                batch = transform(picture.convert("RGB"))[None]
            rows.append(network(batch).softmax(1).numpy())
    return np.concatenate(rows)


def classes_of(pictures: list[Path], labels: tuple[str, ...]) -> list[int]:
    """Class ids by the names of the files, which are sorted like the classes.

    A name alone is ambiguous: there are two cardigans, one of them a dog, and torchvision calls one
    crane "crane bird". So the next class whose label begins with the name is taken.
    """
    words = [label.lower().replace("-", " ").replace("_", " ") + " " for label in labels]
    ids: list[int] = []
    for picture in pictures:
        name = picture.stem.partition("_")[2].lower().replace("-", " ").replace("_", " ") + " "
        after = ids[-1] + 1 if ids else 0
        ids.append(next(i for i in range(after, 1000) if words[i].startswith(name)))
    return ids


def test_real_pictures_get_the_class_that_torchvision_gives_them(answers: Answers) -> None:
    assert (answers.onnx.argmax(axis=1) == answers.reference.argmax(axis=1)).sum() >= 98


def test_real_pictures_get_the_right_class(answers: Answers, pictures: list[Path]) -> None:
    correct = np.array(classes_of(pictures, answers.labels))
    assert (answers.onnx.argmax(axis=1) == correct).sum() >= 79
    best = [[each.class_id for each in top(row, answers.labels, 5)] for row in answers.onnx]
    assert sum(one in five for one, five in zip(correct, best, strict=True)) >= 94


def test_both_engines_agree_on_every_picture(answers: Answers) -> None:
    assert np.array_equal(answers.onnx.argmax(axis=1), answers.torch.argmax(axis=1))
    assert np.abs(answers.onnx - answers.torch).max() <= 1e-3


WORKER = r"""
import json, re, sys
from pathlib import Path
import numpy as np
from shared.settings import Settings
from workers.engine import load_engine
from workers.decode.preprocessing import decode

engine = load_engine(Settings())
picture = decode(Path(sys.argv[1]).read_bytes(), engine.model.preset, max_pixels=10**8)
for _ in range(3):
    engine.predict(np.stack(32 * [picture]))
status = Path("/proc/self/status").read_text()
print(json.dumps({
    "engine": engine.name,
    "libraries": sorted({"torch", "torchvision", "onnx", "onnxscript"} & sys.modules.keys()),
    "peak_megabytes": int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024,
}))
"""


def test_a_worker_on_a_cpu_needs_little_memory_and_no_torch(
    real_settings: Settings, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.jpg"
    Image.effect_noise((640, 480), 60).convert("RGB").save(picture)
    ran = subprocess.run(
        [sys.executable, "-c", WORKER, picture],
        env={
            "MODEL_WEIGHTS": real_settings.model_weights,
            "MODELS_DIR": str(real_settings.models_dir),
            "ENGINE": "onnxruntime",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(ran.stdout)
    assert report["engine"] == "onnxruntime"
    assert report["libraries"] == []
    assert report["peak_megabytes"] < 350
    assert ran.stderr == ""


@pytest.mark.parametrize("name", ["onnxruntime", "torch-cpu"])
def test_the_name_and_version_of_random_weights_say_random(
    random_settings: Settings, name: str
) -> None:
    model = load_engine(random_settings.model_copy(update={"engine": name})).model
    assert model.name == "mobilenet_v3_small (random weights)"
    assert model.weights == "random"
    assert model.version == f"mobilenet_v3_small-random-{model.weights_digest[:12]}-p2"


def test_of_a_weights_file_only_the_name_is_public(real_settings: Settings) -> None:
    model = load_engine(real_settings).model
    assert (model.name, model.weights) == (
        "mobilenet_v3_large",
        Path(real_settings.model_weights).name,
    )
    assert model.version == f"mobilenet_v3_large-{model.weights_digest[:12]}-p2"


def test_labels_from_a_file_change_the_version_of_the_torch_engine(
    random_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(f"class {i}" for i in range(1000)), encoding="utf-8")
    by_torch = random_settings.model_copy(update={"engine": "torch-cpu"})
    before = load_engine(by_torch).model
    model = load_engine(by_torch.model_copy(update={"model_labels": file})).model
    assert model.labels[:2] == ("class 0", "class 1")
    assert model.version.startswith(f"{before.version}-l")

    file.write_text("cat\ndog\n", encoding="utf-8")
    with pytest.raises(ModelError, match="2 labels, .* 1000 classes"):
        load_engine(by_torch.model_copy(update={"model_labels": file}))

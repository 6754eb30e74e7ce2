"""The engines: real pictures in, the right classes out, from either, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.errors import ModelError
from shared.settings import Settings
from workers.engine import Engine, load_engine, resolve_engine
from workers.engine.export import export
from workers.engine.labels import top
from workers.decode.preprocessing import decode

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def random_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small model of random weights, exported."""
    settings = Settings(
        model="mobilenet_v3_small",
        model_weights="random",
        model_labels=None,
        engine="onnxruntime",
        data_dir=tmp_path_factory.mktemp("random"),
    )
    export(settings)
    return settings


@pytest.fixture(scope="session")
def real_settings(tmp_path_factory: pytest.TempPathFactory, real_weights: Path) -> Settings:
    """The default model with real weights, exported."""
    settings = Settings(
        model="mobilenet_v3_large",
        model_weights=str(real_weights),
        model_labels=None,
        engine="onnxruntime",
        data_dir=tmp_path_factory.mktemp("real"),
    )
    export(settings)
    return settings


def test_the_library_tells_nobody_what_is_classified(tmp_path: Path) -> None:
    """Left alone, it makes up an identifier for the machine and a queue of what to send."""
    code = "import workers.engine.onnx_engine, sys; assert 'onnxruntime' in sys.modules"
    # It keeps silent by itself under continuous integration.
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert not list(tmp_path.iterdir())


def noise(engine: Engine, pictures: int) -> NDArray[np.uint8]:
    side = engine.model.preset.crop_size
    return np.random.default_rng(0).integers(0, 256, (pictures, side, side, 3), np.uint8)


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_an_engine_gives_one_row_of_probabilities_per_picture(
    random_settings: Settings, name: str
) -> None:
    engine = load_engine(random_settings.model_copy(update={"engine": name}))
    assert engine.name == name
    probabilities = engine.predict(noise(engine, 3))
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (3, len(engine.model.labels)) == (3, 1000)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("pictures", [1, 7, 8, 9, 32])
def test_a_picture_scores_alike_alone_and_in_any_batch(
    real_settings: Settings, pictures: int
) -> None:
    engine = load_engine(real_settings)
    batch = noise(engine, pictures)
    alone = np.concatenate([engine.predict(each[None]) for each in batch])
    assert np.abs(engine.predict(batch) - alone).max() < 1e-4


def test_several_threads_change_no_score(real_settings: Settings) -> None:
    engine = load_engine(real_settings.model_copy(update={"worker_processes": 2}))
    [picture] = noise(engine, 1)
    scores = engine.predict(picture[None], alone=True)
    assert np.abs(scores - engine.predict(picture[None])).max() < 1e-5
    assert scores.sum() == pytest.approx(1, abs=1e-5)


@dataclass(frozen=True)
class Answers:
    """Probabilities of the hundred pictures, (100, 1000) each."""

    onnx: NDArray[np.float32]
    torch: NDArray[np.float32]
    reference: NDArray[np.float32]  #: torchvision's own transforms and model, in fp32.
    labels: tuple[str, ...]


@pytest.fixture(scope="session")
def answers(real_settings: Settings, real_weights: Path, pictures: list[Path]) -> Answers:
    onnx = load_engine(real_settings)
    torch = load_engine(real_settings.model_copy(update={"engine": "torch"}))
    preset = onnx.model.preset
    pixels = np.stack([decode(each.read_bytes(), preset, max_pixels=10**8) for each in pictures])
    return Answers(
        onnx=onnx.predict(pixels),
        torch=torch.predict(pixels),
        reference=torchvision_answers(real_weights, pictures),
        labels=onnx.model.labels,
    )


def torchvision_answers(weights: Path, pictures: list[Path]) -> NDArray[np.float32]:
    """With nothing of ours between the file and the probabilities."""
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
    """Class ids by the names of the files, which are sorted as the classes are.

    A name alone would not do: there are two cardigans, one of them a dog, and torchvision calls
    one crane "crane bird". The next class in order whose label begins with the name is right.
    """
    words = [label.lower().replace("-", " ").replace("_", " ") + " " for label in labels]
    found: list[int] = []
    for picture in pictures:
        name = picture.stem.partition("_")[2].lower().replace("-", " ").replace("_", " ") + " "
        after = found[-1] + 1 if found else 0
        found.append(next(i for i in range(after, 1000) if words[i].startswith(name)))
    return found


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
            "DATA_DIR": str(real_settings.data_dir),
            "ENGINE": "onnxruntime",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(ran.stdout)
    assert told["engine"] == "onnxruntime"
    assert told["libraries"] == []
    assert told["peak_megabytes"] < 350
    assert ran.stderr == ""


def test_without_a_card_the_engine_is_onnxruntime() -> None:
    if any(Path("/dev").glob("nvidia*")) or Path("/dev/dxg").exists():
        pytest.skip("this machine has a card")
    assert resolve_engine(Settings(engine="auto")) == "onnxruntime"
    program = (
        "import sys; from shared.settings import Settings; from workers.engine import *\n"
        "resolve_engine(Settings(engine='auto')); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_an_engine_named_is_the_engine(name: str) -> None:
    assert resolve_engine(Settings(engine=name)) == name


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_random_weights_say_so(random_settings: Settings, name: str) -> None:
    model = load_engine(random_settings.model_copy(update={"engine": name})).model
    assert model.name == "mobilenet_v3_small (random weights)"
    assert model.weights == "random"
    assert model.version == f"mobilenet_v3_small-random-{model.weights_digest[:12]}-p1"


def test_of_a_weights_file_only_the_name_is_told(real_settings: Settings) -> None:
    model = load_engine(real_settings).model
    assert (model.name, model.weights) == (
        "mobilenet_v3_large",
        Path(real_settings.model_weights).name,
    )
    assert model.version == f"mobilenet_v3_large-{model.weights_digest[:12]}-p1"


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_labels_of_ones_own_change_the_version(
    random_settings: Settings, tmp_path: Path, name: str
) -> None:
    versions = set()
    for word in ("class", "Klasse"):
        file = tmp_path / f"{word}.txt"
        file.write_text("\n".join(f"{word} {i}" for i in range(1000)), encoding="utf-8")
        own = random_settings.model_copy(update={"engine": name, "model_labels": file})
        model = load_engine(own).model
        assert model.labels[:2] == (f"{word} 0", f"{word} 1")
        versions.add(model.version)
    before = load_engine(random_settings).model.version
    assert len(versions) == 2
    assert all(version.startswith(f"{before}-l") for version in versions)


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_too_few_labels_are_a_model_error(
    random_settings: Settings, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("cat\ndog\n", encoding="utf-8")
    own = random_settings.model_copy(update={"engine": name, "model_labels": file})
    with pytest.raises(ModelError, match="2 labels, .* 1000 classes"):
        load_engine(own)


def test_without_an_export_the_error_names_the_command(tmp_path: Path) -> None:
    settings = Settings(model_weights="random", engine="onnxruntime", data_dir=tmp_path)
    with pytest.raises(ModelError, match="python -m workers.engine.export"):
        load_engine(settings)


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1000], lambda whole: b"", bytes.upper])
def test_a_damaged_export_is_a_model_error_that_names_the_file(
    random_settings: Settings, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    (whole,) = random_settings.models_dir.glob("*.onnx")
    damaged = tmp_path / "models" / whole.name
    damaged.parent.mkdir()
    damaged.write_bytes(damage(whole.read_bytes()))
    with pytest.raises(ModelError, match=str(damaged)):
        load_engine(random_settings.model_copy(update={"models_dir": tmp_path / "models"}))


def test_an_onnx_file_of_someone_elses_is_a_model_error(
    random_settings: Settings, tmp_path: Path
) -> None:
    import onnx

    (whole,) = random_settings.models_dir.glob("*.onnx")
    stranger = onnx.load(whole)
    del stranger.metadata_props[:]
    (tmp_path / "models").mkdir()
    onnx.save(stranger, tmp_path / "models" / whole.name)
    with pytest.raises(ModelError, match="not a complete export"):
        load_engine(random_settings.model_copy(update={"models_dir": tmp_path / "models"}))

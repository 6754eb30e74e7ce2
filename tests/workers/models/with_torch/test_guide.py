"""The commands of docs/model-packages.md make packages, and the service classifies with one."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import workers.engine.torchvision_model  # noqa: F401  # lets torchvision be imported
import timm
import torch
import torchvision
from client import ImageClassifier
from safetensors.torch import save_file
from shared.errors import ModelError
from shared.jobs import Lane
from shared.settings import Settings
from tests.support.local_service import local_service
from tests.workers.models.onnx_models import LABELS, SIDE, answer, write_model
from workers.engine import load_engine
from workers.models.__main__ import main
from workers.models.presets import NAMED

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[4]
GUIDE = ROOT / "docs" / "model-packages.md"


def commands() -> list[list[str]]:
    lines = re.findall(r"^\$ python -m workers.models (.*)", GUIDE.read_text(), re.M)
    return [shlex.split(line) for line in lines]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the guide names, with four labels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    write_model(tmp_path / "pets.onnx")
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=len(LABELS))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "checkpoint.pt")
    for name in ("huggingface-pets", "timm-pets"):
        (tmp_path / name).mkdir()
    write_model(tmp_path / "huggingface-pets/model.onnx")
    config = {"id2label": dict(enumerate(LABELS))}
    (tmp_path / "huggingface-pets/config.json").write_text(json.dumps(config))
    preprocessor = {"size": {"height": SIDE, "width": SIDE}}
    preprocessor |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # type: ignore[dict-item]
    (tmp_path / "huggingface-pets/preprocessor_config.json").write_text(json.dumps(preprocessor))
    small = timm.create_model("mobilenetv3_small_050", num_classes=len(LABELS))
    save_file(small.state_dict(), tmp_path / "timm-pets/model.safetensors")
    torch.save(small.state_dict(), tmp_path / "weights.pth")
    settings = {"architecture": "mobilenetv3_small_050", "num_classes": len(LABELS)}
    settings["pretrained_cfg"] = small.pretrained_cfg
    (tmp_path / "timm-pets/config.json").write_text(json.dumps(settings))
    return tmp_path


def test_every_command_of_the_guide_makes_a_package(folder: Path, capsys: Any) -> None:
    adding = [each for each in commands() if each[0] == "add"]
    assert len(adding) == 5
    for command in adding:
        assert main([*command, "--replace"]) == 0, capsys.readouterr().err
        assert main(["check", "pets"]) == 0


def test_the_guide_shows_what_the_command_prints(folder: Path, capsys: Any) -> None:
    [command] = [each for each in commands() if "pets.onnx" in each]
    shown = GUIDE.read_text().partition(f"$ python -m workers.models {shlex.join(command)}\n")[2]
    assert main(command) == 0
    lines = capsys.readouterr().out.replace(f"{folder}/", "").splitlines()
    for line, said in zip(shown.partition("```")[0].splitlines(), lines, strict=True):
        # The version has a digest of the file, which newer packages may write differently.
        assert line == said or line.startswith("version    pets-")


def test_the_labels_of_the_default_model_are_replaced(
    model_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [(name, value)] = re.findall(r"^\$ make run (MODEL_LABELS)=(.*)", GUIDE.read_text(), re.M)
    monkeypatch.chdir(tmp_path)
    settings = {each: model_environment[each] for each in ("MODELS_DIR", "MODEL_WEIGHTS")}
    for each in settings:
        monkeypatch.setenv(each, settings[each])
    old = load_engine(Settings()).model
    labels = [f"名 {number}" for number in range(len(old.labels))]
    Path(value).write_text("\n".join(labels), "utf-8")
    monkeypatch.setenv(name, value)
    engine = load_engine(Settings())
    assert engine.model.labels == tuple(labels) and engine.model.version != old.version
    Path(value).write_text("\n".join(labels[1:]), "utf-8")
    with pytest.raises(ModelError, match=f"but {re.escape(old.name)} has {len(labels)} classes"):
        load_engine(Settings())


@pytest.mark.long
def test_the_service_answers_as_the_file_of_the_package(
    folder: Path, model_environment: dict[str, str], tmp_path: Path
) -> None:
    [command] = [each for each in commands() if "pets.onnx" in each]
    assert main(command) == 0
    package = folder / "data/models/packages/pets"
    environment = model_environment | {"MODEL": str(package), "MODEL_WEIGHTS": "DEFAULT"}
    source = np.random.default_rng(8)
    with local_service(tmp_path / "service", environment) as service:
        service.start_worker(Lane.INTERACTIVE)
        service.start_web()
        service.await_ready()
        with ImageClassifier(service.base_url) as client:
            assert client.labels() == list(LABELS)
            info = client.model_info()
            assert (info.name, info.input_size) == ("pets", SIDE)
            for number in range(10):
                pixels = source.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / f"{number}.png")
                classified = client.classify(tmp_path / f"{number}.png", top_k=4)
                expected = of_file(folder / "pets.onnx", pixels)
                scores = {each.class_id: each.probability for each in classified.predictions}
                assert classified.label == LABELS[expected.argmax()]
                assert [scores[k] for k in range(4)] == pytest.approx(list(expected), abs=1e-3)
                assert classified.model_version == info.version


def of_file(path: Path, pixels: Any) -> Any:
    mean, std = (np.array(NAMED["imagenet"][name]) for name in ("mean", "std"))
    image = ((pixels / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)
    [scores] = answer(path, image[None])
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


@pytest.mark.long
def test_a_worker_does_not_start_with_a_package_that_answers_otherwise(
    folder: Path, redis_url: str, model_environment: dict[str, str]
) -> None:
    [command] = [each for each in commands() if "pets.onnx" in each]
    main(command)
    path = folder / "data/models/packages/pets/model.json"
    description = json.loads(path.read_text())
    scores: dict[str, float] = description["golden"][0]["scores"]
    scores[next(iter(scores))] -= 0.2
    path.write_text(json.dumps(description))
    environment = model_environment | {"REDIS_URL": redis_url, "MODEL": str(path.parent)}
    environment |= {"MODEL_WEIGHTS": "DEFAULT", "LOG_FORMAT": "text"}
    worker = run_worker(["-m", "celery", "--quiet", "-A", "workers.app", "worker"], environment)
    assert worker.returncode == 2
    assert "for golden-1.png; model.json says" in worker.stdout
    assert "Traceback" not in worker.stdout + worker.stderr


def run_worker(
    arguments: Sequence[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

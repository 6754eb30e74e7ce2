"""The service can use the file that a training writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from shared.settings import Settings
from tests.training.colours import draw_colours
from training import demonstration, shipped_file
from training.demonstration import ARCHITECTURE, CHECKPOINT, PRESET, SIDES
from training.pictures import read_files
from training.training import Recipe, Training
from workers.engine import load_engine
from workers.engine.export import export
from workers.engine.torchvision_model import build

pytestmark = [pytest.mark.torch, pytest.mark.long]

ROOT = Path(__file__).parents[2]
LABELS = ("blue", "red")


def test_one_process_trains_and_writes_the_file(tmp_path: Path) -> None:
    files = read_files(draw_colours(tmp_path))
    output = tmp_path / "out" / "colours.safetensors"
    recipe = Recipe(sides=(32,), seed=0, batch_size=8)
    demonstration.train(files, LABELS, tmp_path, recipe)
    accuracy = demonstration.ship(tmp_path, LABELS, files["test"], recipe, output)
    check(output, f"{accuracy:.4f} on 4 test pictures", tmp_path)


def test_the_command_resumes_in_two_processes_and_writes_the_file(tmp_path: Path) -> None:
    """The checkpoint is the one before the last epoch, so that only one epoch is trained."""
    recipe = Recipe(sides=SIDES, seed=0, shares=1)
    started = Training(build(ARCHITECTURE, PRESET, classes=2), recipe, PRESET)
    started.epoch = len(SIDES) - 1
    started.save(tmp_path / CHECKPOINT)
    data = draw_colours(tmp_path, train=64)
    output = tmp_path / "out" / "colours.safetensors"
    command = [sys.executable, "-m", "training", "--data", data, "--work", tmp_path]
    trained = subprocess.run(
        [*command, "--output", output],
        cwd=ROOT,
        env=os.environ | {"OMP_WAIT_POLICY": "passive"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    epoch, result = trained.stdout.splitlines()
    assert epoch.startswith("epoch 25/25: 64 px")
    assert result.startswith(f"{output}: ") and result.endswith("of 4 test pictures are right")
    with safe_open(output, framework="pt") as file:
        check(output, file.metadata()["accuracy"], tmp_path)
    after = torch.load(tmp_path / CHECKPOINT, weights_only=True)["network"]
    before = started.network.state_dict()
    assert not torch.equal(after["classifier.3.weight"], before["classifier.3.weight"])


def check(output: Path, accuracy: str, folder: Path) -> None:
    with safe_open(output, framework="pt") as file:
        facts = file.metadata()
    assert facts["accuracy"] == accuracy and accuracy.endswith(" on 4 test pictures")
    assert facts["digest"] == shipped_file.digest(load_file(output))
    assert output.stat().st_size <= 9_000_000

    settings = Settings(
        model=ARCHITECTURE,
        model_weights=str(output),
        model_labels=None,
        engine="onnxruntime",
        data_dir=folder,
    )
    export(settings)
    model = load_engine(settings).model
    assert (model.labels, model.preset) == (LABELS, PRESET)
    assert model.name == "mobilenet_v3_large (demonstration model)"
    assert model.version == f"mobilenet_v3_large-demonstration-{model.weights_digest[:12]}-p2"
    assert model.notice.startswith("demonstration model (2 classes); for ImageNet")

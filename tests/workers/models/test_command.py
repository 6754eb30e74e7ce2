"""`python -m workers.models`, and the settings that choose a package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ModelError
from shared.settings import Settings
from tests.workers.engine.without_torch import run_without_torch
from tests.workers.models.onnx_models import LABELS, SIDE, write_model
from workers.engine import find_export, load_engine
from workers.engine.package import find_package
from workers.models.__main__ import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with an ONNX file and its labels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    write_model(tmp_path / "pets.onnx")
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    return tmp_path


ADD = ["add", "pets", "pets.onnx", "--labels", "labels.txt", "--preset", "imagenet"]
ADD += ["--activation", "softmax"]


def test_a_package_is_added_listed_checked_and_removed(folder: Path, capsys: Any) -> None:
    assert main(ADD) == 0
    out = capsys.readouterr().out
    assert "labels     4: red, green, blue, gray" in out
    assert "make run MODEL=pets" in out
    for command in (
        ["list"],
        ["show", "pets"],
        ["check", "pets"],
        ["check", "./data/models/packages/pets"],
    ):
        assert main(command) == 0
        assert "pets" in capsys.readouterr().out
    assert main(["remove", "pets"]) == 0
    assert main(["check", "pets"]) == 2
    assert "There is no package pets" in capsys.readouterr().err


def test_a_damaged_package_does_not_hide_the_others(folder: Path, capsys: Any) -> None:
    for name in ("cats", "pets"):
        assert main(["add", name, *ADD[2:]]) == 0
    (folder / "data/models/packages/cats/model.json").write_text("{")
    capsys.readouterr()
    assert main(["list"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("pets\t4 labels\tpets-")
    assert "cats/model.json: Invalid JSON" in said.err


def test_a_worker_loads_a_package_by_its_name_or_path(folder: Path) -> None:
    main(ADD)
    settings = Settings(model="pets")
    engine = load_engine(settings)
    assert engine.model.version.startswith("pets-")
    assert engine.predict(np.zeros((2, SIDE, SIDE, 3), np.uint8)).shape == (2, 4)
    by_path = Settings(model=f"{folder}/data/models/packages/pets", data_dir=folder / "other")
    assert find_export(by_path) == find_export(settings)
    assert load_engine(by_path).model == engine.model


def test_a_worker_refuses_a_package_that_was_changed(folder: Path) -> None:
    main(ADD)
    path = folder / "data/models/packages/pets/model.json"
    path.write_text(path.read_text().replace('"red"', '"rot"'))
    with pytest.raises(ModelError, match="was changed after"):
        load_engine(Settings(model="pets"))


@pytest.mark.parametrize("command", ["export", "fetch"])
def test_a_misspelled_package_is_not_taken_for_a_network_alone(folder: Path, command: str) -> None:
    """Somebody might install PyTorch for it, which downloads 3 GB."""
    main(ADD)
    run = run_without_torch(command, folder / "data", "pet")
    assert run.returncode and run.stderr.startswith("MODEL=pet needs PyTorch once.")
    assert run.stderr.endswith(f"The packages in {folder}/data/models/packages are pets.\n")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model": "./nothing"}, "is not a model package"),
        ({"model": "pets", "model_weights": "random"}, "Remove MODEL_WEIGHTS=random"),
        ({"model": "pets", "model_labels": "labels.txt"}, "Remove MODEL_LABELS=labels.txt"),
        ({"model": "pets", "engine": "torch-cpu"}, "ENGINE=torch-cpu cannot load"),
    ],
)
def test_settings_that_do_not_fit_a_package(
    folder: Path, options: dict[str, Any], message: str
) -> None:
    main(ADD)
    with pytest.raises(ModelError, match=message):
        load_engine(Settings(**options))


def test_a_name_of_torchvision_is_no_package(folder: Path) -> None:
    assert find_package(Settings(model="resnet18")) is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["add", "Pets!", "pets.onnx"], "Pets! cannot be the name of a package"),
        (["add", "pets", "nothing.onnx"], "nothing.onnx does not exist"),
        (["add", "pets", "pets.onnx"], "Give --labels FILE"),
        (["add", "pets", "labels.txt"], "--architecture resnet18"),
        (["add", "pets", "."], "A folder of Hugging Face has"),
        ([*ADD, "--preset", "mine"], "--preset mine is neither one of imagenet,"),
        ([*ADD, "--image-size", "32"], "takes pictures of 24 pixels, not 32"),
        ([*ADD, "--output", "x"], "has no output x"),
        ([*ADD, "--architecture", "resnet18"], "is an ONNX file. Leave out --architecture"),
        ([*ADD, "--labels", "."], "--labels: cannot read ."),
        ([*ADD, "--labels", "pets.onnx"], "--labels: cannot read pets.onnx"),
        (["show", "cats"], "There is no package cats"),
    ],
)
def test_a_wrong_command_gets_one_line(
    folder: Path, arguments: list[str], message: str, capsys: Any
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (folder / "data/models/packages/pets").exists()


def test_a_missing_package_is_named_in_one_line() -> None:
    """As after `make run`, which installs no `onnx`."""
    program = (
        "import runpy, sys; sys.modules['onnx'] = None;"
        "runpy.run_module('workers.models', run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == (
        "`python -m workers.models` needs: pip install -r requirements/models.txt\n"
    )

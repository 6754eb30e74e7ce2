"""A wrong file of each kind gets one line that says what is wrong, and no package is made."""

from __future__ import annotations

import json
import warnings
from argparse import Namespace
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import workers.engine.torchvision_model  # noqa: F401  # lets torchvision be imported
import timm
import timm.models
import torch
import torchvision
from safetensors.torch import save_file
from tests.workers.models.onnx_models import LABELS
from workers.models.__main__ import main

pytestmark = pytest.mark.torch

Values = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of a resnet18, and files that are none."""
    path = tmp_path_factory.mktemp("checkpoints")
    (path / "labels.txt").write_text("\n".join(LABELS))
    network = torchvision.models.resnet18(num_classes=len(LABELS)).eval()
    state = network.state_dict()
    torch.save(network, path / "whole.pt")
    torch.save(state, path / "weights.pt")
    torch.save({"model": state, "args": Namespace(lr=0.1)}, path / "arguments.pt")
    torch.save({"optimizer": {}, "epoch": 3}, path / "optimizer.pt")
    with warnings.catch_warnings(action="ignore"):  # it is deprecated, and there are many files
        torch.jit.script(torch.nn.Linear(2, 2)).save(path / "script.pt")
    data = (path / "weights.pt").read_bytes()
    (path / "half.pt").write_bytes(data[: len(data) // 2])
    (path / "empty.pt").touch()
    (path / "text.safetensors").write_text("weights")
    (path / "cut.pt").write_bytes(earlier_format(state)[:-9])
    for name in ("pointer.pt", "pointer.safetensors"):
        (path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")
    (path / "page.pt").write_text("<!DOCTYPE html>\n<html>")
    (path / "picture.pt").write_bytes(b"\x89PNG\r\n\x1a\n")
    (path / "graph.pt").write_bytes(b"\x08\x08\x12\x07pytorch")
    return path


def earlier_format(state: Values) -> bytes:
    file = BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def refused(arguments: list[str], capsys: Any) -> str:
    """What the command says. It is one line, and advises nothing that is not safe."""
    capsys.readouterr()
    assert main(["add", "pets", *arguments]) == 2
    line: str = capsys.readouterr().err
    assert line.count("\n") == 1 and len(line) < 400
    assert "weights_only" not in line and "Traceback" not in line
    return line


@pytest.mark.parametrize(
    "file, options, words",
    [
        ("whole.pt", (), "holds Python objects beside the weights, perhaps a whole model"),
        ("arguments.pt", (), "holds Python objects beside the weights"),
        ("optimizer.pt", (), "has no weights by name. It has ['epoch', 'optimizer']"),
        ("script.pt", (), "it is a TorchScript program. Save the weights alone"),
        ("half.pt", (), "it is damaged, or not complete"),
        ("empty.pt", (), "it is empty"),
        ("cut.pt", (), "it is damaged, or not complete"),
        ("pointer.pt", (), "is a pointer of Git LFS, not the file itself. Run `git lfs pull`"),
        ("pointer.safetensors", (), "is a pointer of Git LFS"),
        ("page.pt", (), "is no checkpoint of PyTorch: it begins with '<!DOCTYPE html>'"),
        ("picture.pt", (), r"begins with '\x89PNG'"),
        ("graph.pt", (), "If it is an ONNX file, let its name end with .onnx"),
        ("text.safetensors", (), "cannot be read as weights: Error while deserializing header"),
        ("weights.pt", ("resnet34",), "not those of resnet34: they have no layer1.2.conv1.weight"),
        ("weights.pt", ("vgg11",), "expected are features.0.weight"),
        ("weights.pt", ("resnet19",), "--architecture resnet19 is not a classification model"),
        ("weights.pt", ("fasterrcnn_resnet50_fpn",), "--architecture fasterrcnn_resnet50_fpn is a"),
        ("weights.pt", ("timm/mine",), "timm has no architecture mine"),
        ("weights.pt", ("timm/test_efficientnet",), "are not those of test_efficientnet"),
        ("weights.pt", ("resnet18", "--range", "0-255"), "Leave out --range"),
        ("weights.pt", ("resnet18", "--channels", "bgr"), "Leave out --channels"),
        ("weights.pt", ("resnet18", "--layout", "NHWC"), "Leave out --layout"),
    ],
)
def test_of_torchvision(
    folder: Path,
    file: str,
    options: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.setenv("DATA_DIR", str(folder))
    architecture, *others = options or ("resnet18",)
    arguments = [str(folder / file), "--architecture", architecture, *others]
    arguments += ["--labels", str(folder / "labels.txt"), "--image-size", "64"]
    assert words in refused(arguments, capsys)
    assert not (folder / "models/packages/pets").exists()


def timm_folder(path: Path, change: Callable[[Values], Any] = lambda config: None) -> Path:
    network = timm.create_model("test_efficientnet", num_classes=len(LABELS))
    own = {"label_names": list(LABELS)}
    timm.models.save_for_hf(network, path, model_config=own, safe_serialization="both")
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda config: config.update(architecture="mine"), "timm has no architecture mine"),
        (lambda config: config.update(architecture="resnet18"), "are not those of resnet18"),
        (lambda config: config.pop("label_names"), "the 4 classes of the weights. Give --labels"),
        (lambda config: config.update(label_names=["red"]), "4 classes, and there are 1 labels"),
        (lambda config: config["pretrained_cfg"].update(input_size=[1, 64, 64]), "1 × 64 × 64"),
        (lambda config: config["pretrained_cfg"].update(crop_mode="odd"), "the crop_mode odd"),
        (lambda config: config["pretrained_cfg"].update(interpolation="random"), "interpolation"),
        (
            lambda config: config["pretrained_cfg"].update(crop_pct="big"),
            "are not what is expected",
        ),
    ],
)
def test_of_timm(
    change: Callable[[Values], Any],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert words in refused([str(timm_folder(tmp_path / "timm", change))], capsys)


def test_a_file_of_timm_that_is_missing_or_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    folder = timm_folder(tmp_path / "timm")
    assert "Leave out --image-size" in refused([str(folder), "--image-size", "64"], capsys)
    (folder / "model.safetensors").write_text("weights")
    assert "cannot be read as weights" in refused([str(folder)], capsys)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").rename(folder / "weights.bin")
    assert "model.safetensors or pytorch_model.bin" in refused([str(folder)], capsys)
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read as JSON" in refused([str(folder)], capsys)


def test_what_timm_leaves_out_is_taken_from_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    def change(config: Values) -> None:
        del config["num_classes"]
        config["pretrained_cfg"] = None

    folder = timm_folder(tmp_path / "timm", change)
    (folder / "model.safetensors").unlink()  # pytorch_model.bin has them too
    assert main(["add", "pets", str(folder)]) == 0


def test_safetensors_of_another_architecture_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    save_file({"head.weight": torch.ones(2, 2)}, tmp_path / "w.safetensors")
    arguments = [str(tmp_path / "w.safetensors"), "--architecture", "resnet18"]
    words = "They are head.weight, …; expected are conv1.weight"
    assert words in refused([*arguments, "--image-size", "64"], capsys)

"""A weights file may describe its use, and a file that does not fit is refused."""

from __future__ import annotations

import json
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from shared.errors import ModelError
from shared.settings import Settings
from tests.workers.engine.with_torch.squeezenet import save_pth, settings, state_of
from workers.decode.preprocessing import Preset
from workers.engine import load_engine
from workers.engine.export import export
from workers.engine.torchvision_model import build, load, torchvision
from workers.engine.weights.weights_file import DESCRIPTION_ENTRY, Description

pytestmark = pytest.mark.torch

DESCRIPTION = Description(
    variant="sample model",
    notice="three classes only",
    labels=("circle", "square", "star"),
    preset=Preset(
        resize_size=40,
        crop_size=32,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
        interpolation="bicubic",
    ),
    enlarged_size=48,
)


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small model with random weights, in a file with labels and preset; exported."""
    folder = tmp_path_factory.mktemp("described")
    torch.manual_seed(0)
    network = build("mobilenet_v3_small", DESCRIPTION.preset, classes=3)
    weights = folder / "shapes.safetensors"
    entry = TypeAdapter(Description).dump_json(DESCRIPTION).decode()
    save_file(network.state_dict(), weights, {DESCRIPTION_ENTRY: entry})
    settings = Settings(
        model="mobilenet_v3_small", model_weights=str(weights), model_labels=None, data_dir=folder
    )
    export(settings)
    return settings


@pytest.mark.parametrize("name", ["onnxruntime", "torch-cpu"])
def test_weights_bring_their_labels_and_preset(described: Settings, name: str) -> None:
    model = load_engine(described.model_copy(update={"engine": name})).model
    assert (model.labels, model.preset) == (DESCRIPTION.labels, DESCRIPTION.preset)
    assert model.name == "mobilenet_v3_small (sample model)"
    assert model.version == f"mobilenet_v3_small-sample-{model.weights_digest[:12]}-p2"
    assert model.notice == "three classes only"


def test_pictures_are_enlarged_for_the_network_as_described(described: Settings) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    network = build("mobilenet_v3_small", DESCRIPTION.preset, classes=3)
    network.load_state_dict(load_file(described.model_weights))
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        enlarged = torch.nn.functional.interpolate(images, (48, 48), mode="bilinear")
        expected = network.eval()(enlarged).softmax(1).numpy()
    assert load_engine(described).predict(pixels) == pytest.approx(expected, abs=1e-5)


def test_a_weights_file_may_name_its_architecture(described: Settings) -> None:
    """Then MODEL need not be set, and must not name another architecture."""
    named = replace(DESCRIPTION, architecture="mobilenet_v3_small")
    weights = described.data_dir / "named.safetensors"
    entry = TypeAdapter(Description).dump_json(named).decode()
    save_file(load_file(described.model_weights), weights, {DESCRIPTION_ENTRY: entry})
    update = {"model_weights": str(weights), "model": Settings.model_fields["model"].default}
    _, model = load(described.model_copy(update=update))
    assert model.name == "mobilenet_v3_small (sample model)"
    update["model"] = "resnet18"
    with pytest.raises(ModelError, match="named.safetensors is a mobilenet.*, not MODEL=resnet18"):
        load(described.model_copy(update=update))


def test_a_malformed_description_is_a_model_error(tmp_path: Path) -> None:
    weights = tmp_path / "odd.safetensors"
    save_file({"a": torch.zeros(1)}, weights, {DESCRIPTION_ENTRY: json.dumps({"labels": 3})})
    with pytest.raises(ModelError, match="odd.safetensors cannot be read as weights"):
        load(Settings(model_weights=str(weights), model_labels=None, data_dir=tmp_path))


def test_weights_with_older_names_load(tmp_path: Path) -> None:
    """torchvision's DenseNet files have `norm.1` where its DenseNet has `norm1`."""
    older = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor
        for name, tensor in state_of("densenet121").items()
    }
    save_pth(older, tmp_path / "densenet.pth")
    load(settings(tmp_path, str(tmp_path / "densenet.pth"), model="densenet121"))


@pytest.mark.parametrize("auxiliary", [True, False])
def test_googlenet_loads_with_and_without_its_training_heads(
    tmp_path: Path, auxiliary: bool
) -> None:
    network = torchvision.models.googlenet(aux_logits=auxiliary, init_weights=False)
    save_pth(network.state_dict(), tmp_path / "googlenet.pth")
    _, model = load(settings(tmp_path, str(tmp_path / "googlenet.pth"), model="googlenet"))
    assert len(model.labels) == 1000


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("code-was-run",))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as weights"),
        (b"not weights at all", "cannot be read as weights"),
        (pickle.dumps(_Bomb(), protocol=2), "cannot be read as weights"),
        (pickle.dumps({"model": {"epoch": 3}}, protocol=2), "cannot be read as weights"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_without_weights_is_a_model_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"file{suffix}"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        load(settings(tmp_path, str(file)))
    assert not (tmp_path / "code-was-run").exists()


def test_a_checkpoint_with_more_than_weights_is_a_model_error(tmp_path: Path) -> None:
    torch.save({"model": state_of("squeezenet1_1"), "epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(ModelError, match="no plain state dict"):
        load(settings(tmp_path, str(tmp_path / "checkpoint.pth")))


@pytest.mark.parametrize("model", ["resnet18", "squeezenet1_0"])
def test_weights_of_another_model_are_a_model_error(tmp_path: Path, model: str) -> None:
    save_pth(state_of("squeezenet1_1"), tmp_path / "squeezenet.pth")
    with pytest.raises(ModelError, match=f"do not fit MODEL={model}"):
        load(settings(tmp_path, str(tmp_path / "squeezenet.pth"), model=model))

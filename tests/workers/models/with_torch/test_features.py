"""The embedding of networks of torchvision and timm is what their last layer gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import workers.engine.torchvision_model  # noqa: F401  # lets torchvision be imported
from shared.settings import Settings
from workers.engine import load_engine
from workers.models.__main__ import main
from workers.models.presets import NAMED
import timm
import torchvision

pytestmark = pytest.mark.torch

SIDE = 64


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    Path("labels.txt").write_text("cat\ndog\nowl\n")


def add(network: nn.Module, architecture: str, embedding: str = "features") -> int:
    torch.save(network.state_dict(), "weights.pt")
    command = ["add", "pets", "weights.pt", "--architecture", architecture, "--replace"]
    command += ["--labels", "labels.txt", "--image-size", str(SIDE), "--preset", "imagenet"]
    return main([*command, "--embedding", embedding])


def resnet() -> tuple[nn.Module, nn.Module, str]:
    network = torchvision.models.resnet18(num_classes=3).eval()
    return network, nn.Sequential(*list(network.children())[:-1], nn.Flatten()), "resnet18"


def mobilenet() -> tuple[nn.Module, nn.Module, str]:
    network = torchvision.models.mobilenet_v3_small(num_classes=3).eval()
    trunk = [network.features, network.avgpool, nn.Flatten(), *network.classifier[:-1]]
    return network, nn.Sequential(*trunk), "mobilenet_v3_small"


class _Features(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.network.forward_head(self.network.forward_features(pixels), pre_logits=True)


def of_timm() -> tuple[nn.Module, nn.Module, str]:
    network = timm.create_model("mobilenetv3_small_050", num_classes=3).eval()
    return network, _Features(network), "timm/mobilenetv3_small_050"


def settle(network: nn.Module) -> None:
    """As after training: each layer gives numbers of a usual size."""
    for each in network.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = None
    with torch.inference_mode():
        network.train()(torch.randn(16, 3, SIDE, SIDE))
    network.eval()


@pytest.mark.parametrize("make", [resnet, mobilenet, of_timm])
def test_the_embedding_is_that_of_the_library(make: Any) -> None:
    torch.manual_seed(1)
    network, features, architecture = make()
    settle(network)
    assert add(network, architecture) == 0
    pixels = np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
    engine = load_engine(Settings(model="pets", engine="onnxruntime"))
    scores, embeddings = engine.predict_and_embed(pixels)
    mean, std = (np.array(NAMED["imagenet"][each]) for each in ("mean", "std"))
    given = torch.from_numpy(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)).float()
    with torch.inference_mode():
        expected = features.eval()(given).numpy()
        theirs = network(given).softmax(1).numpy()
    lengths = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((embeddings * expected).sum(axis=1) / lengths).min() > 0.999
    assert np.abs(scores - theirs).max() < 1e-3


def test_numbers_that_are_too_small_for_float16_are_refused(capsys: Any) -> None:
    """The layers of this network make them smaller, because it is not trained."""
    torch.manual_seed(1)
    network, _, architecture = mobilenet()
    assert add(network, architecture) == 2
    assert "gives numbers that are too small for float16" in capsys.readouterr().err


def test_a_network_that_has_none_and_a_wrong_name_are_refused(capsys: Any) -> None:
    assert add(torchvision.models.squeezenet1_1(num_classes=3), "squeezenet1_1") == 2
    assert "has no embedding. Leave out --embedding." in capsys.readouterr().err
    assert add(torchvision.models.resnet18(num_classes=3), "resnet18", "avgpool") == 2
    assert "Give --embedding features" in capsys.readouterr().err

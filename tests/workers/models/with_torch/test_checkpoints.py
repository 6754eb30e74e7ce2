"""Checkpoints of training programs become packages that answer as the network in torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from shared.errors import ModelError
from workers.decode.preprocessing import decode
import workers.engine.torchvision_model  # noqa: F401  # lets torchvision be imported
from workers.engine.onnx_engine import OnnxEngine
from workers.engine.package import MODEL_FILE, Package
from workers.models.making import Made, write_package
from workers.models.onnx_file import Choices
from workers.models.presets import Wish
from workers.models.timm_model import from_timm, from_timm_weights
from workers.models.torch_model import from_torchvision
import timm.data
import torchvision
from torchvision import transforms

pytestmark = pytest.mark.torch

LABELS = ("cat", "dog", "owl")
SIDE = 64
Answer = Callable[[Image.Image], Any]


def network(architecture: str, classes: int = 3) -> nn.Module:
    torch.manual_seed(1)
    model: nn.Module = torchvision.models.get_model(architecture, num_classes=classes)
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.uniform_(-0.1, 0.1)
            each.running_var.uniform_(0.5, 1.5)
    return model.eval()


def with_head(model: nn.Module, name: str, head: nn.Module) -> nn.Module:
    setattr(model, name, head)
    return model.eval()


def resnet_with_dropout() -> nn.Module:
    return with_head(network("resnet18"), "fc", nn.Sequential(nn.Dropout(0.4), nn.Linear(512, 3)))


def mobilenet_with_short_head() -> nn.Module:
    head = nn.Sequential(nn.Dropout(0.2), nn.Linear(576, 3))
    return with_head(network("mobilenet_v3_small"), "classifier", head)


FORMS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "plain": lambda state: state,
    "with an optimizer": lambda state: {"model": state, "optimizer": {"lr": 0.1}, "epoch": 3},
    "of DistributedDataParallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "of Lightning": lambda state: {
        "state_dict": {f"model.{k}": v for k, v in state.items()} | {"loss.weight": torch.ones(3)},
        "hyper_parameters": {"lr": 0.1},
    },
    "compiled": lambda state: {
        "model_state_dict": {f"_orig_mod.module.{k}": v for k, v in state.items()}
    },
}


def made_of(path: Path, architecture: str = "resnet18", **options: Any) -> Made:
    given = {"labels": LABELS, "wish": Wish({"crop_size": SIDE}), "choices": Choices()} | options
    return from_torchvision(architecture, path, name="pets", **given)


def pictures() -> list[Image.Image]:
    source = np.random.default_rng(5)
    sizes = [(90, 70), (64, 100), (200, 150)]
    small = [source.integers(0, 256, (h // 8, w // 8, 3), np.uint8) for w, h in sizes]
    return [
        Image.fromarray(each).resize(size, Image.Resampling.BICUBIC)
        for each, size in zip(small, sizes, strict=True)
    ]


def check_answers(made: Made, folder: Path, model: nn.Module, transform: Any) -> Package:
    package = write_package(made, folder / "package")
    engine = OnnxEngine.load(folder / "package" / MODEL_FILE)
    for number, picture in enumerate(pictures()):
        path = folder / f"{number}.png"
        picture.save(path)
        pixels = decode(path.read_bytes(), package.preset, max_pixels=10**6)
        [scores] = engine.predict(pixels[None])
        with torch.inference_mode():
            expected = model(transform(picture)[None]).softmax(1)[0].numpy()
        assert np.abs(scores - expected).max() <= 1e-3
        assert scores.argmax() == expected.argmax()
    return package


def usual_transform() -> Any:
    return transforms.Compose(
        [
            transforms.Resize(SIDE),
            transforms.CenterCrop(SIDE),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_checkpoint(form: str, tmp_path: Path) -> None:
    model = network("resnet18")
    torch.save(FORMS[form](model.state_dict()), tmp_path / "weights.pt")
    package = check_answers(made_of(tmp_path / "weights.pt"), tmp_path, model, usual_transform())
    assert (package.labels, package.source.architecture) == (LABELS, "resnet18")
    assert package.preset.crop_size == SIDE


@pytest.mark.parametrize(
    "architecture, build",
    [("resnet18", resnet_with_dropout), ("mobilenet_v3_small", mobilenet_with_short_head)],
)
def test_a_replaced_head(architecture: str, build: Callable[[], nn.Module], tmp_path: Path) -> None:
    model = build()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    made = made_of(tmp_path / "weights.safetensors", architecture)
    check_answers(made, tmp_path, model, usual_transform())


def test_a_head_of_several_layers_is_refused(tmp_path: Path) -> None:
    head = nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 3))
    torch.save(with_head(network("resnet18"), "fc", head).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="has 2 layers .* Export the model as ONNX"):
        made_of(tmp_path / "weights.pt")


def test_the_size_of_pictures_is_never_guessed(tmp_path: Path) -> None:
    torch.save(network("resnet18").state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="Give --image-size"):
        made_of(tmp_path / "weights.pt", wish=Wish())


def test_labels_must_be_as_many_as_classes(tmp_path: Path) -> None:
    torch.save(network("resnet18", classes=5).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="have 5 classes, and there are 3 labels"):
        made_of(tmp_path / "weights.pt")


def test_a_whole_model_is_refused_without_advice_to_run_it(tmp_path: Path) -> None:
    torch.save(network("resnet18"), tmp_path / "model.pt")
    with pytest.raises(ModelError) as refusal:
        made_of(tmp_path / "model.pt")
    assert "torch.save(model.state_dict()" in str(refusal.value)
    assert "weights_only" not in str(refusal.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"epoch": 3}, r"has no weights by name. It has \['epoch'\]"),
        ([1, 2], "has no weights by name. It has list"),
        ({"w": torch.ones(3)}, "are not those of resnet18. They are w, …; expected are conv1"),
    ],
)
def test_a_file_without_the_weights(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=message):
        made_of(tmp_path / "weights.pt")


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("hello")
    with pytest.raises(ModelError, match="is no checkpoint of PyTorch: it begins with 'hello'"):
        made_of(tmp_path / "weights.pt")


def test_a_package_that_would_answer_otherwise_is_not_written(tmp_path: Path) -> None:
    torch.save(network("resnet18").state_dict(), tmp_path / "weights.pt")
    made = made_of(tmp_path / "weights.pt")
    other = replace(made.preset, resize_size=SIDE + 1)
    with pytest.raises(ModelError, match="would prepare pictures differently .* on average"):
        write_package(replace(made, preset=other), tmp_path / "package")
    torch.save(network("resnet34").state_dict(), tmp_path / "weights.pt")
    other = made_of(tmp_path / "weights.pt", "resnet34").reference
    with pytest.raises(ModelError, match="would answer differently .* scores differ by up to"):
        write_package(replace(made, reference=other), tmp_path / "package")
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("architecture", ["mobilenetv3_small_050", "efficientnet_b0"])
def test_a_folder_of_timm(architecture: str, tmp_path: Path) -> None:
    folder = tmp_path / "timm"
    folder.mkdir()
    torch.manual_seed(2)
    model = timm.create_model(architecture, num_classes=3).eval()
    save_file(model.state_dict(), folder / "model.safetensors")
    data = {"input_size": [3, SIDE, SIDE], "crop_pct": 0.875, "interpolation": "bicubic"}
    data |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "label_names": list(LABELS)}
    config = {"architecture": architecture, "num_classes": 3, "pretrained_cfg": data}
    (folder / "config.json").write_text(json.dumps(config))
    made = from_timm(folder, name="pets", labels=None, choices=Choices())
    loaded = {**data, "input_size": (3, SIDE, SIDE)}
    loaded.pop("label_names")
    transform = timm.data.create_transform(**loaded, is_training=False)
    package = check_answers(made, tmp_path, model, transform)
    assert package.labels == LABELS
    assert package.source.architecture == architecture


def test_weights_of_timm_without_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = timm.create_model("test_efficientnet", num_classes=3).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pth")
    given = {"labels": LABELS, "choices": Choices()}
    with pytest.raises(ModelError, match="Give --image-size"):
        from_timm_weights("x", tmp_path / "weights.pth", name="pets", wish=Wish(), **given)
    made = from_timm_weights(
        "test_efficientnet",
        tmp_path / "weights.pth",
        name="pets",
        wish=Wish({"crop_size": SIDE, "interpolation": "bilinear"}),
        **given,
    )
    package = check_answers(made, tmp_path, model, usual_transform())
    assert (package.source.kind, package.labels) == ("timm", LABELS)


def test_pictures_of_a_checkpoint_may_be_filled(tmp_path: Path) -> None:
    torch.save(network("resnet18").state_dict(), tmp_path / "weights.pt")
    wish = Wish({"crop_size": SIDE, "resize": "longer", "fill": (9, 99, 199)})
    package = write_package(made_of(tmp_path / "weights.pt", wish=wish), tmp_path / "package")
    assert package.preset.resize == "longer"

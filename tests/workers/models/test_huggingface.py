"""A folder of Hugging Face becomes a package: labels, sizes and activation come from its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelError
from tests.workers.models.onnx_models import LABELS, SIDE, write_model
from workers.models.__main__ import main
from workers.models.huggingface import from_huggingface, is_export
from workers.models.making import Made, write_package
from workers.models.onnx_file import Choices

CONFIG = {"id2label": {str(k): label for k, label in enumerate(LABELS)}}
PREPROCESSOR = {
    "do_resize": True,
    "size": {"height": SIDE, "width": SIDE},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}


def folder(
    path: Path, config: dict[str, Any] = {}, preprocessor: dict[str, Any] = {}, **model: Any
) -> Path:
    path.mkdir()
    write_model(path / "model.onnx", **model)
    (path / "config.json").write_text(json.dumps(CONFIG | config))
    (path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | preprocessor))
    return path


def made(path: Path) -> Made:
    return from_huggingface(path, name="m", choices=Choices())


def test_the_folder_says_everything(tmp_path: Path) -> None:
    path = folder(tmp_path / "hf", {"architectures": ["ViTForImageClassification"]})
    assert is_export(path)
    package = write_package(made(path), tmp_path / "package")
    assert (package.labels, package.activation) == (LABELS, "softmax")
    preset = package.preset
    assert (preset.resize, preset.resize_size, preset.crop_size) == ("both", SIDE, SIDE)
    assert (preset.mean, preset.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert preset.interpolation == "bicubic"
    assert package.source.architecture == "ViTForImageClassification"


def test_several_labels_may_be_right(tmp_path: Path) -> None:
    path = folder(tmp_path / "hf", {"problem_type": "multi_label_classification"})
    package = write_package(made(path), tmp_path / "package")
    assert package.activation == "sigmoid"
    sums = [sum(each.scores.values()) for each in package.golden]
    assert max(abs(each - 1) for each in sums) > 0.01  # they are no shares of 1


@pytest.mark.parametrize(
    "config, preprocessor, message",
    [
        ({"problem_type": "regression"}, {}, "problem_type regression"),
        ({"id2label": {}}, {}, "id2label of config.json has no labels"),
        ({"id2label": {"0": "a", "2": "b"}}, {}, "none for the class 1"),
        ({"id2label": {"0": "a", "1": "b"}}, {}, "has 4 classes; config.json has 2"),
        ({}, {"size": {"height": 24, "width": 32}}, "Only squares"),
        ({}, {"size": {"shortest_edge": 24}}, "keeps the shape of pictures"),
        ({}, {"size": {"height": 32, "width": 32}}, "takes pictures of 24 pixels, not 32"),
        ({}, {"do_pad": True}, "pads pictures"),
        ({}, {"resample": 5}, "interpolation 5"),
        ({}, {"image_mean": None}, "has the image_mean None, which is no list of numbers"),
        ({}, {"image_std": ["a"] * 3}, "has the image_std"),
        ({"id2label": "labels"}, {}, "id2label of config.json must be a JSON list of labels, or"),
    ],
)
def test_a_folder_that_cannot_be_served(
    config: dict[str, Any], preprocessor: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        made(folder(tmp_path / "hf", config, preprocessor))


def test_labels_may_be_a_list_and_a_mean_one_number(tmp_path: Path) -> None:
    values = {"image_mean": 0.5, "image_std": 0.25}
    path = folder(tmp_path / "hf", {"id2label": list(LABELS)}, values)
    assert made(path).labels == LABELS
    assert made(path).preset.mean == (0.5, 0.5, 0.5) and made(path).preset.std == (0.25,) * 3


def test_options_that_the_folder_says_itself_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    path = str(folder(tmp_path / "hf"))
    assert main(["add", "pets", path, "--preset", "imagenet"]) == 2
    assert "hf is a folder of Hugging Face, which says this itself" in capsys.readouterr().err
    (tmp_path / "hf/config.json").write_text(json.dumps(CONFIG | {"architectures": 3}))
    assert main(["add", "pets", path]) == 2
    assert "hf are not what is expected: TypeError" in capsys.readouterr().err


def test_a_folder_without_onnx_says_how_to_export_it(tmp_path: Path) -> None:
    path = folder(tmp_path / "hf")
    (path / "model.onnx").unlink()
    with pytest.raises(ModelError, match="optimum-cli export onnx"):
        made(path)

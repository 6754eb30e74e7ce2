"""A package of an ONNX file answers as the file does, whatever the file takes and gives."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.errors import ModelError
from tests.workers.models.onnx_models import CLASSES, LABELS, SIDE, answer, write_model
from workers.decode.preprocessing import decode
from workers.engine.onnx_engine import OnnxEngine
from workers.engine.package import MODEL_FILE, check_file, read_package
from workers.engine.package_check import check
from workers.models.making import write_package
from workers.models.onnx_file import Choices, from_onnx, read_onnx
from workers.models.presets import NAMED, Wish

IMAGENET = NAMED["imagenet"]


def softmax(scores: Any) -> Any:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(scores: Any) -> Any:
    return 1 / (1 + np.exp(-scores))


def same(scores: Any) -> Any:
    return scores


ACTIVATE = {"softmax": softmax, "sigmoid": sigmoid, "none": same}


def pictures() -> list[bytes]:
    """Pictures of the model's own size, so that only the graph is compared."""
    source = np.random.default_rng(0)
    encoded = []
    for _ in range(11):
        buffer = io.BytesIO()
        pixels = source.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    return encoded


@pytest.mark.parametrize(
    "file, choices, activation",
    [
        ({}, {"activation": "softmax"}, "softmax"),
        ({}, {"activation": "sigmoid"}, "sigmoid"),
        ({}, {"activation": "none"}, "none"),
        ({"end": "Softmax"}, {}, "none"),  # the file has done it
        ({"end": "Sigmoid"}, {}, "none"),
        ({"layout": "NHWC"}, {"activation": "softmax"}, "softmax"),
        ({"kind": "float16"}, {"activation": "softmax"}, "softmax"),
        ({"keeps_dims": True}, {"activation": "softmax"}, "softmax"),
        ({"batch": 1}, {"activation": "softmax"}, "softmax"),
        ({"batch": 1, "fixed_reshape": True}, {"activation": "softmax"}, "softmax"),
        ({"side": "side"}, {"activation": "softmax"}, "softmax"),
        ({}, {"activation": "softmax", "channels": "bgr"}, "softmax"),
        ({}, {"activation": "softmax", "rescale": 1.0}, "softmax"),
        ({"names": ("pixels", "probabilities")}, {"activation": "softmax"}, "softmax"),
        ({"names": ("classifier/mul0", "classifier/cast1")}, {"activation": "softmax"}, "softmax"),
        ({"kind": "uint8", "layout": "NHWC"}, {"activation": "softmax"}, "softmax"),
    ],
)
def test_a_package_answers_as_its_file(
    tmp_path: Path, file: dict[str, Any], choices: dict[str, Any], activation: str
) -> None:
    path = write_model(tmp_path / "m.onnx", **file)
    normalised = {} if file.get("kind") == "uint8" else IMAGENET
    wish = Wish(normalised | {"crop_size": SIDE})
    made = from_onnx(path, name="m", labels=LABELS, wish=wish, choices=Choices(**choices))
    write_package(made, tmp_path / "package")
    engine = OnnxEngine.load(tmp_path / "package" / MODEL_FILE)
    check(engine, tmp_path / "package", read_package(tmp_path / "package"))

    data = pictures()
    pixels = np.stack([decode(each, made.preset, max_pixels=10**6) for each in data])
    plain = np.stack([np.asarray(Image.open(io.BytesIO(each))) for each in data])
    images: Any = plain
    if file.get("kind") != "uint8":
        order = slice(None, None, -1) if choices.get("channels") == "bgr" else slice(None)
        mean, std = (np.array(IMAGENET[name])[order] for name in ("mean", "std"))
        images = (plain[..., order] * choices.get("rescale", 1 / 255) - mean) / std
        images = images.astype(file.get("kind", "float32"))
    if file.get("layout") != "NHWC":
        images = images.transpose(0, 3, 1, 2)
    expected = ACTIVATE[activation](answer(path, images))
    tolerance = 5e-3 if file.get("kind") == "float16" else 1e-5
    assert np.abs(engine.predict(pixels) - expected).max() <= tolerance * np.abs(expected).max()
    assert engine.model.labels == LABELS


@pytest.mark.parametrize(
    "file, choices, message",
    [
        ({}, {}, "does not say what its output means. Give --activation softmax if"),
        ({"channels": 1}, {}, r"has 1 channels \(n, 1, 24, 24, NCHW\)"),
        ({"side": 3}, {}, "Say --layout NCHW or --layout NHWC"),
        ({"side": "side"}, {"activation": "softmax"}, "Give --image-size"),
    ],
)
def test_a_file_that_needs_a_choice(
    tmp_path: Path, file: dict[str, Any], choices: dict[str, Any], message: str
) -> None:
    path = write_model(tmp_path / "m.onnx", **file)
    with pytest.raises(ModelError, match=message):
        from_onnx(path, name="m", labels=LABELS, wish=Wish(IMAGENET), choices=Choices(**choices))


def test_labels_must_be_as_many_as_classes(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    choices = Choices(activation="softmax")
    with pytest.raises(ModelError, match=f"has {CLASSES} classes, and there are 2 labels"):
        from_onnx(path, name="m", labels=("a", "b"), wish=Wish(IMAGENET), choices=choices)


def test_normalisation_is_never_guessed(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    choices = Choices(activation="softmax")
    with pytest.raises(ModelError, match="how pictures are normalised. Give --preset: imagenet,"):
        from_onnx(path, name="m", labels=LABELS, wish=Wish(), choices=choices)


def test_a_file_that_takes_bytes_normalises_them_itself(tmp_path: Path) -> None:
    """A mean would do nothing, and `show` would say that it is subtracted."""
    path = write_model(tmp_path / "m.onnx", kind="uint8", layout="NHWC")
    options: Any = {"name": "m", "labels": LABELS, "choices": Choices(activation="softmax")}
    preset = from_onnx(path, wish=Wish(), **options).preset
    assert (preset.mean, preset.std) == ((0, 0, 0), (1, 1, 1))
    with pytest.raises(ModelError, match="m.onnx takes pixels as bytes.* Leave out --preset"):
        from_onnx(path, wish=Wish(IMAGENET), **options)


@pytest.mark.parametrize("content", [b"", b"not ONNX", b"\x08\x08"])
def test_a_file_that_is_not_onnx(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="m.onnx is not a complete ONNX file"):
        from_onnx(
            tmp_path / "m.onnx", name="m", labels=LABELS, wish=Wish(IMAGENET), choices=Choices()
        )


def test_a_pointer_of_git_lfs_says_how_to_get_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"
    )
    with pytest.raises(ModelError, match="m.onnx is a pointer of Git LFS.* `git lfs pull`"):
        read_onnx(tmp_path / "m.onnx")


def package(folder: Path) -> Path:
    path = write_model(folder / "m.onnx")
    choices = Choices(activation="softmax")
    made = from_onnx(path, name="m", labels=LABELS, wish=Wish(IMAGENET), choices=choices)
    write_package(made, folder / "package")
    return folder / "package"


def test_a_package_that_answers_otherwise_than_it_says_is_refused(tmp_path: Path) -> None:
    folder = package(tmp_path)
    text = (folder / "model.json").read_text()
    best = next(iter(read_package(folder).golden[0].scores.items()))
    (folder / "model.json").write_text(text.replace(str(best[1]), str(best[1] / 2), 1))
    engine = OnnxEngine.load(folder / MODEL_FILE)
    with pytest.raises(ModelError, match="gives the label .* for golden-1.png; model.json says"):
        check(engine, folder, read_package(folder))


@pytest.mark.parametrize("side", [0, 4000])
def test_a_golden_picture_that_cannot_be_read_is_named(tmp_path: Path, side: int) -> None:
    folder = package(tmp_path)
    file = folder / "golden-1.png"
    if side:
        Image.new("RGB", (side, side)).save(file)
    else:
        file.write_text("no picture")
    engine = OnnxEngine.load(folder / MODEL_FILE)
    with pytest.raises(ModelError, match="golden-1.png is damaged. Copy the package once more"):
        check(engine, folder, read_package(folder))


def test_a_file_that_this_release_cannot_load_is_not_deleted(tmp_path: Path) -> None:
    """A newer ONNX Runtime may have made it. An export would be deleted and made again."""
    file = package(tmp_path) / MODEL_FILE
    file.write_bytes(b"\x08\x7f")
    with pytest.raises(ModelError, match="cannot load .*. Make the package again") as refusal:
        OnnxEngine.load(file)
    assert "elete" not in str(refusal.value)


def test_a_file_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    folder = package(tmp_path)
    write_model(folder / MODEL_FILE)
    with pytest.raises(ModelError, match="is not the file that model.json describes"):
        check_file(folder, read_package(folder))


def test_labels_that_were_edited_are_refused(tmp_path: Path) -> None:
    folder = package(tmp_path)
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text.replace('"red"', '"rot"'))
    engine = OnnxEngine.load(folder / MODEL_FILE)
    with pytest.raises(ModelError, match="was changed after model.onnx was made"):
        check(engine, folder, read_package(folder))


def test_a_package_that_exists_is_replaced_only_on_demand(tmp_path: Path) -> None:
    folder = package(tmp_path)
    choices = Choices(activation="sigmoid")
    path = tmp_path / "m.onnx"
    made = from_onnx(path, name="m", labels=LABELS, wish=Wish(IMAGENET), choices=choices)
    before = read_package(folder)
    with pytest.raises(ModelError, match="exists. Give another name, or --replace"):
        write_package(made, folder)
    after = write_package(made, folder, replace=True)
    assert read_package(folder) == after and after.version != before.version
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.onnx", "package"]

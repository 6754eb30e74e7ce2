"""The demonstration model's training: it can be interrupted, and what it writes can be used."""

from __future__ import annotations

import copy
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from shared.settings import Settings
from training import __main__
from training import depthwise, shipped_file
from training.augmentation import Chance, augment
from training.pictures import Pictures, decoded, read_files
from training.training import Recipe, Training
from workers.engine import load_engine
from workers.engine.torchvision_model import build
from workers.engine.export import export
from training.__main__ import PRESET

pytestmark = pytest.mark.long

RECIPE = Recipe(sides=(32, 32, 40), seed=3, batch_size=8)


def few_pictures() -> Pictures:
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=chance)
    return Pictures(pixels=pixels, classes=torch.arange(16) % 3)


def new_training(recipe: Recipe = RECIPE) -> Training:
    torch.manual_seed(recipe.seed)
    return Training(build("mobilenet_v3_small", PRESET, classes=3), recipe, PRESET)


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    pictures = few_pictures()
    whole = new_training()
    while not whole.finished:
        whole.run_epoch(pictures)
    first = new_training()
    first.run_epoch(pictures)
    first.save(tmp_path / "checkpoint.pt")
    second = new_training()
    second.resume(tmp_path / "checkpoint.pt")
    while not second.finished:
        second.run_epoch(pictures)
    expected = whole.average.state_dict()
    for name, tensor in second.average.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("side", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_quick_way_through_a_large_kernel_is_the_same(side: int, stride: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, 5, stride, padding=2, groups=6, bias=False)
    quick = copy.deepcopy(plain)
    depthwise.quicken(quick)
    images = torch.randn(4, 6, side, side)
    for convolution in (plain, quick):
        convolution(images).square().sum().backward()
    assert "forward" in vars(quick)
    assert plain.weight.grad is not None
    torch.testing.assert_close(quick.weight.grad, plain.weight.grad)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    training = new_training()
    training.run_epoch(few_pictures())
    training.save(tmp_path / "checkpoint.pt")
    other = new_training(Recipe(sides=(48, 48), seed=3, batch_size=8))
    with pytest.raises(ValueError, match="other sides"):
        other.resume(tmp_path / "checkpoint.pt")


def test_without_strength_a_picture_is_flipped_at_most() -> None:
    pixels = few_pictures().pixels
    seen = augment(pixels, 32, Chance(16, torch.Generator().manual_seed(0), strength=0))
    for picture, found in zip(pixels.float() / 255, seen, strict=True):
        kept = torch.allclose(found, picture, atol=1e-4)
        assert kept or torch.allclose(found, picture.flip(2), atol=1e-4)


def test_augmented_pictures_have_the_size_and_range_that_the_network_wants() -> None:
    seen = augment(few_pictures().pixels, 48, Chance(16, torch.Generator().manual_seed(0), 1.0))
    assert seen.shape == (16, 3, 48, 48)
    assert -0.5 < seen.min() and seen.max() < 1.5


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Pictures of one colour each, red and blue; eight to learn from, two to test with."""
    for split, pictures in (("train", 8), ("test", 2)):
        for label, colour in (("red", (200, 20, 30)), ("blue", (30, 20, 200))):
            folder = tmp_path / "colours" / split / label
            folder.mkdir(parents=True)
            for i in range(pictures):
                Image.new("RGB", (32, 32), colour).save(folder / f"{i:04}.jpg")
    return tmp_path / "colours"


def test_a_folder_gives_the_pictures_that_its_archive_gives(colours: Path) -> None:
    path = colours.with_suffix(".tar.xz")
    with tarfile.open(path, "w:xz") as archive:
        for split in ("test", "train"):
            archive.add(colours / split, split)
    files = read_files(colours)
    assert files == read_files(path)
    assert [each.label for each in files["test"]] == ["blue", "blue", "red", "red"]
    pictures = decoded(files["test"], ("blue", "red"))
    assert pictures.pixels.shape == (4, 3, 32, 32)
    assert pictures.classes.tolist() == [0, 0, 1, 1]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures named train"):
        read_files(tmp_path)


@pytest.mark.parametrize("shares", [1, 2])
def test_what_is_shipped_is_small_and_says_all_that_is_known(colours: Path, shares: int) -> None:
    files, labels, work = read_files(colours), ("blue", "red"), colours.parent
    output = work / "out" / "colours.safetensors"
    recipe = Recipe(sides=(32,), seed=0, batch_size=8, shares=shares)
    __main__.train(files, labels, work, recipe)
    accuracy = __main__.ship(work, labels, files["test"], recipe, output)
    with safe_open(output, framework="pt") as file:
        facts = file.metadata()
    assert facts["accuracy"] == f"{accuracy:.4f} on 4 test pictures"
    assert facts["digest"] == shipped_file.digest(load_file(output))
    assert output.stat().st_size <= 9_000_000

    settings = Settings(
        model=__main__.ARCHITECTURE,
        model_weights=str(output),
        model_labels=None,
        engine="onnxruntime",
        data_dir=work,
    )
    export(settings)
    model = load_engine(settings).model
    assert (model.labels, model.preset) == (labels, PRESET)
    assert model.name == "mobilenet_v3_large (demonstration model)"
    assert model.version == f"mobilenet_v3_large-demonstration-{model.weights_digest[:12]}-p1"
    assert model.notice.startswith("demonstration model (2 classes); for ImageNet")

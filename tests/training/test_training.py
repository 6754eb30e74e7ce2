"""A training can be resumed, and its parts compute what they should."""

from __future__ import annotations

import copy
import tarfile
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.colours import draw_colours
from training import depthwise
from training.augmentation import Chance, augment
from training.demonstration import PRESET
from training.pictures import Pictures, decoded, read_files
from training.training import Recipe, Training
from workers.engine.torchvision_model import build

pytestmark = [pytest.mark.torch, pytest.mark.long]

RECIPE = Recipe(sides=(32, 32, 40), seed=3, batch_size=8)


def few_pictures() -> Pictures:
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=chance)
    return Pictures(pixels=pixels, classes=torch.arange(16) % 3)


def new_training(recipe: Recipe = RECIPE) -> Training:
    torch.manual_seed(recipe.seed)
    return Training(build("mobilenet_v3_small", PRESET, classes=3), recipe, PRESET)


def test_a_resumed_training_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
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


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    training = new_training()
    training.run_epoch(few_pictures())
    training.save(tmp_path / "checkpoint.pt")
    other = new_training(Recipe(sides=(48, 48), seed=3, batch_size=8))
    with pytest.raises(ValueError, match="other sides"):
        other.resume(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("side", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_faster_gradient_of_a_large_kernel_is_the_same(side: int, stride: int) -> None:
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


def test_at_strength_zero_a_picture_is_only_flipped() -> None:
    pixels = few_pictures().pixels
    augmented = augment(pixels, 32, Chance(16, torch.Generator().manual_seed(0), strength=0))
    for before, after in zip(pixels.float() / 255, augmented, strict=True):
        same = torch.allclose(after, before, atol=1e-4)
        assert same or torch.allclose(after, before.flip(2), atol=1e-4)


def test_augmented_pictures_have_the_size_and_range_that_the_network_expects() -> None:
    chance = Chance(16, torch.Generator().manual_seed(0), 1.0)
    augmented = augment(few_pictures().pixels, 48, chance)
    assert augmented.shape == (16, 3, 48, 48)
    assert -0.5 < augmented.min() and augmented.max() < 1.5


def test_a_folder_and_its_archive_give_the_same_pictures(tmp_path: Path) -> None:
    folder = draw_colours(tmp_path)
    path = folder.with_suffix(".tar.xz")
    with tarfile.open(path, "w:xz") as archive:
        for split in ("test", "train"):
            archive.add(folder / split, split)
    files = read_files(folder)
    assert files == read_files(path)
    assert [each.label for each in files["test"]] == ["blue", "blue", "red", "red"]
    pictures = decoded(files["test"], ("blue", "red"))
    assert pictures.pixels.shape == (4, 3, 32, 32)
    assert pictures.classes.tolist() == [0, 0, 1, 1]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures named train"):
        read_files(tmp_path)

"""A picture becomes the pixels that the library of the model makes of it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import workers.engine.torchvision_model  # noqa: F401  # lets torchvision be imported
import timm.data
import transformers
from torchvision import transforms
from workers.decode.preprocessing import Preset, decode
from workers.models.huggingface import wish_of
from workers.models.timm_model import preset_of

pytestmark = pytest.mark.torch

SIZES = [(500, 375), (375, 501), (231, 999), (300, 300), (71, 97)]


def photo(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    noise = np.random.default_rng(width).integers(0, 60, (height, width, 3))
    waves = np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y), np.sin(5 * x * y)], axis=2)
    return Image.fromarray((90 * (waves + 1) + noise).clip(0, 255).astype(np.uint8))


def pixels(picture: Image.Image, preset: Preset) -> NDArray[np.float64]:
    """Ours, normalised as the model does it."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    square = decode(buffer.getvalue(), preset, max_pixels=10**7)
    normalised: NDArray[np.float64] = (square / 255 - preset.mean) / preset.std
    return normalised.transpose(2, 0, 1)


def one_step(preset: Preset) -> float:
    """What a picture's brightness must be off by to count, after normalisation."""
    return 1.01 / 255 / min(preset.std)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "processor",
    [
        transformers.ViTImageProcessorPil(),
        transformers.ViTImageProcessorPil(size={"height": 96, "width": 96}, resample=3),
        transformers.MobileNetV2ImageProcessorPil(),
        transformers.ConvNextImageProcessorPil(),
        transformers.ConvNextImageProcessorPil(size={"shortest_edge": 384}),
        transformers.EfficientNetImageProcessorPil(),
        transformers.ViTImageProcessorPil(do_normalize=False),
    ],
    ids=lambda each: type(each).__name__,
)
def test_of_transformers(processor: Any, size: tuple[int, int]) -> None:
    preset = wish_of(processor.to_dict()).preset(None)
    picture = photo(*size)
    [expected] = processor(picture, return_tensors="np")["pixel_values"]
    ours = pixels(picture, preset)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= one_step(preset)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("share", [0.875, 1.0, 0.95])
def test_of_timm(mode: str, share: float, size: tuple[int, int]) -> None:
    data = {"input_size": (3, 160, 160), "crop_pct": share, "crop_mode": mode}
    data |= {"interpolation": "bicubic", "mean": (0.48, 0.45, 0.4), "std": (0.23, 0.22, 0.22)}
    preset = Preset(**preset_of(data))
    picture = photo(*size)
    expected = timm.data.create_transform(**data, is_training=False)(picture).numpy()
    assert np.abs(pixels(picture, preset) - expected).max() <= one_step(preset)


@pytest.mark.parametrize("size", SIZES)
def test_of_torchvision(size: tuple[int, int]) -> None:
    preset = Preset(
        resize_size=97, crop_size=64, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear"
    )
    picture = photo(*size)
    library = transforms.Compose(
        [transforms.Resize(97), transforms.CenterCrop(64), transforms.ToTensor()]
    )
    assert np.abs(pixels(picture, preset) - library(picture).numpy()).max() <= one_step(preset)

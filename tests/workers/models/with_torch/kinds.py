"""A small model of each kind that a package is made of, as its own library saves and runs it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

import workers.engine.torchvision_model  # noqa: F401  # lets torchvision be imported
import timm
import timm.models
import torch
import torchvision
import transformers
from torch import nn
from torchvision import transforms

LABELS = ("猫", "Hündin, jung", "сова", "fish")
Scores = NDArray[np.float32]

#: Mean and deviation that most models are trained with.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Kind:
    source: str  #: The file or the folder that was written.
    drawn: list[Image.Image]
    options: tuple[str, ...]  #: Of `python -m workers.models add`, beside the labels.
    scores: Callable[[Sequence[Image.Image]], Scores]  #: The library's: (pictures, classes).
    brings_labels: bool = False
    sums_to_one: bool = True


def pictures(resized: int) -> list[Image.Image]:
    """A hundred pictures of unlike shapes, each with smooth colours of its own.

    The shorter side is twice as long as after resizing. Then no pixel is rounded differently by
    different libraries, and one of a hundred otherwise. Networks with random weights exaggerate
    such differences.
    """
    source = np.random.default_rng(11)
    drawn = []
    for number in range(100):
        sides = [2 * resized, 2 * resized + 4 * int(source.integers(12))]
        colours = source.integers(0, 256, (4, 5, 3), np.uint8)
        size = sides[number % 2], sides[1 - number % 2]
        drawn.append(Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC))
    return drawn


def of_torchvision(folder: Path) -> Kind:
    """A resnet18 that was trained with pictures of 64 pixels."""
    drawn = pictures(64)
    network, transform = torchvision.models.resnet18(num_classes=len(LABELS)), _usual(64)
    _settle(network, network.fc, transform, drawn)
    torch.save(network.state_dict(), folder / "resnet.pt")
    options = ("--architecture", "resnet18", "--image-size", "64")
    return Kind("resnet.pt", drawn, options, _answer(network, transform))


def of_parallel_training(folder: Path) -> Kind:
    """A checkpoint of training on several cards, with another head, an optimizer and the epoch."""
    drawn = pictures(48)
    network, transform = torchvision.models.mobilenet_v3_small(), _usual(48)
    head = nn.Linear(576, len(LABELS))
    network.classifier = nn.Sequential(nn.Dropout(0.3), head)
    _settle(network, head, transform, drawn)
    parallel = nn.DataParallel(network)  # It names the weights as DistributedDataParallel does.
    optimizer = torch.optim.AdamW(parallel.parameters())
    content = {"model": parallel.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 7}
    torch.save(content, folder / "checkpoint.pth")
    options = ("--architecture", "mobilenet_v3_small", "--image-size", "48")
    return Kind("checkpoint.pth", drawn, options, _answer(network, transform))


def of_timm(architecture: str) -> Callable[[Path], Kind]:
    def make(folder: Path) -> Kind:
        drawn = pictures(71)
        network = timm.create_model(architecture, num_classes=len(LABELS))
        own = {"input_size": (3, 64, 64), "crop_pct": 0.9, "interpolation": "bicubic"}
        network.pretrained_cfg |= own
        data = timm.data.resolve_data_config({}, model=network)
        transform = timm.data.create_transform(**data, is_training=False)
        _settle(network, network.get_classifier(), transform, drawn)
        saved = folder / architecture
        config = {"label_names": list(LABELS)}
        timm.models.save_for_hf(network, saved, model_config=config, safe_serialization=True)
        loaded = timm.create_model(f"local-dir:{saved}", pretrained=True)
        return Kind(saved.name, drawn, (), _answer(loaded, transform), brings_labels=True)

    return make


def of_huggingface(folder: Path) -> Kind:
    drawn, saved = pictures(64), folder / "huggingface"
    config = transformers.ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        id2label=dict(enumerate(LABELS)),
    )
    network = transformers.ResNetForImageClassification(config)
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 56}, crop_pct=0.875)
    _settle(network, network.classifier[-1], _processed(processor), drawn)
    network.save_pretrained(saved)
    processor.save_pretrained(saved)
    _export(network, saved / "model.onnx", 56, names=("pixel_values", "logits"))
    loaded = transformers.AutoModelForImageClassification.from_pretrained(saved)
    transform = _processed(transformers.AutoImageProcessor.from_pretrained(saved))
    return Kind(saved.name, drawn, (), _answer(loaded, transform), brings_labels=True)


def of_onnx(folder: Path) -> Kind:
    """Float pictures as NCHW go in, and a probability of each label comes out."""
    drawn, head = pictures(40), nn.Linear(24, len(LABELS))
    network = nn.Sequential(
        nn.Conv2d(3, 24, 5, 2), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network.append(head)
    transform = transforms.Compose([transforms.Resize((40, 40)), *_usual(40).transforms[1:]])
    _settle(network, head, transform, drawn)
    network.append(nn.Sigmoid())
    path = folder / "several.onnx"
    _export(network, path, 40, names=("images", "probabilities"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def scores(some: Sequence[Image.Image]) -> Scores:
        images = np.stack([transform(picture).numpy() for picture in some])
        [result] = session.run(None, {"images": images})
        return result

    options = ("--preset", "imagenet", "--resize", "both")
    return Kind(path.name, drawn, options, scores, sums_to_one=False)


KINDS = {
    "torchvision": of_torchvision,
    "parallel": of_parallel_training,
    "mobilenetv3": of_timm("mobilenetv3_small_050"),
    "efficientnet": of_timm("efficientnet_b0"),
    "huggingface": of_huggingface,
    "onnx": of_onnx,
}


def _usual(side: int) -> Any:
    return transforms.Compose(
        [
            transforms.Resize(side),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(*_IMAGENET),
        ]
    )


def _processed(processor: Any) -> Callable[[Image.Image], torch.Tensor]:
    def pixel_values(picture: Image.Image) -> torch.Tensor:
        values: torch.Tensor = processor(picture, return_tensors="pt")["pixel_values"][0]
        return values

    return pixel_values


def _logits(answer: Any) -> torch.Tensor:
    return answer if isinstance(answer, torch.Tensor) else answer.logits


@torch.no_grad()
def _settle(network: nn.Module, head: Any, transform: Any, drawn: Sequence[Image.Image]) -> None:
    """Stands for training: random weights, of which each label is the best for some pictures."""
    source = torch.Generator().manual_seed(4)
    for name, weights in network.named_parameters():
        if weights.ndim > 1:
            fan = weights[0].numel()
            weights.copy_(torch.randn(weights.shape, generator=source) * (2 / fan) ** 0.5)
    for each in network.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = 1.0
    images = torch.stack([transform(picture) for picture in drawn])
    network.train()
    network(images)  # sets the averages of the normalisation
    network.eval()
    scores = _logits(network(images))
    scale = 2 / scores.std(0)
    head.bias.copy_((head.bias - scores.mean(0)) * scale)
    head.weight.mul_(scale[:, None])


def _answer(network: nn.Module, transform: Any) -> Callable[[Sequence[Image.Image]], Scores]:
    network.eval()

    @torch.inference_mode()
    def scores(some: Sequence[Image.Image]) -> Scores:
        images = torch.stack([transform(picture) for picture in some])
        result: Scores = _logits(network(images)).softmax(1).numpy()
        return result

    return scores


def _export(network: nn.Module, path: Path, side: int, *, names: tuple[str, str]) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, side, side),),
            path,
            dynamo=False,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
        )

"""Settings and weights of a small network."""

from __future__ import annotations

from pathlib import Path

import torch

from shared.settings import Settings
from workers.engine.torchvision_model import torchvision


def settings(folder: Path, weights: str = "random", **others: object) -> Settings:
    fields: dict[str, object] = {"model": "squeezenet1_1", "model_labels": None}
    fields |= {"engine": "onnxruntime", "data_dir": folder, "model_weights": weights}
    return Settings(**(fields | others))


def state_of(model: str, classes: int = 1000) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    state: dict[str, torch.Tensor] = torchvision.models.get_model(
        model, num_classes=classes
    ).state_dict()
    return state


def save_pth(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path)

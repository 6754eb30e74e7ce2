"""The engine is the loaded model: pixels in, probabilities out.

Only this package knows torch, onnxruntime and openvino. It imports each where it is used, so a
worker that runs an export never loads torch.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError, TorchNeeded
from shared.settings import Settings
from workers.engine import cpu
from workers.engine.export_file import find_export
from workers.engine.model import Model
from workers.engine.package import find_package
from workers.engine.package_check import check_loaded

__all__ = [
    "Engine",
    "Model",
    "find_export",
    "load_engine",
    "require_card",
    "unused_card",
    "uses_torch",
]

#: A worker on a CPU does without torch, unless it serves a model whose graph is not shipped.
INSTALL_TORCH = "Install it with `make torch`, or `pip install -r requirements/torch.txt`."


class Engine(Protocol):
    name: str  #: `onnxruntime`, `openvino` or `torch`.
    precision: str  #: `fp32`, `bf16` or `fp16`.
    model: Model
    pictures_at_once: int  #: Best batch size. A larger batch does not make a picture cheaper.

    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3).

        `alone`: no other process of the worker computes, so the engine may use every core.
        """

    def predict_and_embed(
        self, pixels: NDArray[np.uint8], *, alone: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same, and embeddings of shape (n, model.embedding). Only if that is not 0."""


def uses_torch(settings: Settings) -> bool:
    """Whether `load_engine` will load torch. Other engines need an export.

    `auto` is torch where torch has a CUDA card. Only OpenVINO computes in bf16.
    """
    if find_package(settings):
        return False
    if settings.engine != "auto":
        return settings.engine in ("torch", "torch-cpu")
    return settings.precision != "bf16" and _has_card()


def require_card(settings: Settings) -> None:
    """Raise ModelError if the settings ask for a card and this machine or container has none.

    A worker that was given a card and cannot use it would go on a hundred times slower, unnoticed.
    """
    if settings.engine == "torch" and find_spec("torch") and not _has_card():
        raise ModelError(
            "ENGINE=torch needs a CUDA card, and torch finds none here. Install NVIDIA's driver "
            "and give the container the card. On a processor set ENGINE=onnxruntime or torch-cpu."
        )


def load_engine(settings: Settings) -> Engine:
    """Load the model. Call it after a fork, never before.

    Raises ModelError if there is no export, torch is not installed or has no card (torch), the
    processor or the installed packages cannot do what the settings ask for (OpenVINO), the weights
    are missing, or the labels do not fit.
    """
    if uses_torch(settings):
        try:
            from workers.engine.torch_engine import TorchEngine  # Takes seconds and 300 MB.
        except ModuleNotFoundError as error:
            raise TorchNeeded(f"ENGINE=torch needs PyTorch. {INSTALL_TORCH}") from error
        require_card(settings)
        return TorchEngine.load(settings)
    path = find_export(settings)
    if path is None:
        raise ModelError(
            f"There is no export of {settings.model} with MODEL_WEIGHTS={settings.model_weights} "
            f"in {settings.models_dir}. Run `python -m workers.engine.export` once."
        )
    engine = cpu.load(settings, path)
    check_loaded(engine, settings)
    return engine


def unused_card(settings: Settings) -> bool:
    """Whether `auto` leaves a card unused: torch is not installed, or the model is a package."""
    unused = find_spec("torch") is None or find_package(settings) is not None
    return settings.engine == "auto" and _has_driver() and unused


def _has_driver() -> bool:
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()  # dxg: WSL.


def _has_card() -> bool:
    """Whether torch can use a CUDA card. Imports torch only if there is a driver."""
    if not _has_driver() or find_spec("torch") is None:
        return False
    import torch

    # `is_available()` would start CUDA, and then a forked pool process cannot use the card.
    return torch.cuda.device_count() > 0

"""The engine is the loaded model: pixels in, probabilities out.

Only this package knows torch and onnxruntime. It imports each where it is used, so a worker that
runs an export never loads torch.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.settings import Settings
from workers.engine.export_file import find_export
from workers.engine.model import Model

__all__ = ["Engine", "Model", "find_export", "load_engine", "resolve_engine"]

#: Where torch comes from; a worker on a CPU is installed without it.
REQUIREMENTS = "requirements/export.txt"


class Engine(Protocol):
    name: str  #: `onnxruntime` or `torch`.
    model: Model
    pictures_at_once: int  #: In one `predict`; of more each costs as much.

    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        """Probabilities of shape (n, classes) for RGB pictures of shape (n, crop, crop, 3).

        `alone`: no other process of the worker computes, so the cores are there to be used.
        """


def resolve_engine(settings: Settings) -> Literal["onnxruntime", "torch"]:
    """The engine that `load_engine` will load: `auto` is torch where torch has a CUDA card."""
    if settings.engine != "auto":
        return settings.engine
    return "torch" if _has_card() else "onnxruntime"


def load_engine(settings: Settings) -> Engine:
    """Load the model, ready to predict. Call it after a fork, never before.

    Raises ModelError: no export yet (ONNX Runtime), torch not installed (torch), no such weights,
    labels that do not fit.
    """
    if resolve_engine(settings) == "torch":
        try:
            from workers.engine.torch_engine import TorchEngine  # Seconds, and 300 MB.
        except ModuleNotFoundError as error:
            raise ModelError(f"ENGINE=torch needs {error.name}, see {REQUIREMENTS}") from error
        return TorchEngine.load(settings)
    from workers.engine.onnx_engine import OnnxEngine

    path = find_export(settings)
    if path is None:
        raise ModelError(
            f"No export of {settings.model} with MODEL_WEIGHTS={settings.model_weights} in "
            f"{settings.models_dir}: run `python -m workers.engine.export` once."
        )
    return OnnxEngine.load(path, settings.model_labels, cores=settings.worker_processes)


def _has_card() -> bool:
    """Whether torch can use a CUDA card. Imports torch only where the driver shows one."""
    driver = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()  # dxg: Windows' Linux.
    if not driver or find_spec("torch") is None:
        return False
    import torch

    # Not is_available(): it starts CUDA, after which a forked pool process cannot use the card.
    return torch.cuda.device_count() > 0

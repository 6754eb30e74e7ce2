"""The engine: the loaded model. Pixels in, probabilities out; and decoding, where a card does it.

The only package that knows torch or onnxruntime, and it imports each only where it is used: a
worker that runs an export never pays for torch.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.settings import Settings
from workers.engine.export_file import find_export
from workers.engine.model import Model, decoded_by_nvjpeg
from workers.decode.preprocessing import Preset

if TYPE_CHECKING:  # the image that makes the export has no decoder
    from workers.decode.decoder import Decoder

__all__ = ["Engine", "Model", "find_export", "load_decoder", "load_engine", "resolve_engine"]

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
    """The engine that `load_engine` will load: `auto` is torch where it has a CUDA card.

    Raises ModelError where pictures are to be decoded on a card and there is none.
    """
    if settings.jpeg_decoder == "nvjpeg" and not _has_card():
        raise ModelError("JPEG_DECODER=nvjpeg needs a CUDA card, and torch beside it")
    if settings.engine != "auto":
        return settings.engine
    return "torch" if _has_card() else "onnxruntime"


def load_engine(settings: Settings) -> Engine:
    """Load the model, ready to predict. Call it after a fork, never before.

    Raises ModelError: no export yet (ONNX Runtime), torch not installed (torch), no such weights,
    labels that do not fit; and as `resolve_engine` does.
    """
    engine = _load(settings)
    if settings.jpeg_decoder == "nvjpeg":
        engine.model = decoded_by_nvjpeg(engine.model)
    return engine


def _load(settings: Settings) -> Engine:
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


def load_decoder(settings: Settings, preset: Preset) -> Decoder:
    """What makes an engine's squares: Pillow, and before it nvJPEG where the settings say so.

    Raises ModelError where nvJPEG cannot do it for this preset.
    """
    from workers.decode.limits import DecodeLimits
    from workers.decode.decoder import PillowDecoder

    limits = DecodeLimits(
        pixels=settings.max_image_pixels,
        cpu_seconds=settings.max_decode_seconds,
        memory_bytes=settings.max_decode_bytes,
    )
    pillow = PillowDecoder(preset, limits)
    if settings.jpeg_decoder == "pillow":
        return pillow
    from workers.engine.nvjpeg_decoder import NvjpegDecoder  # Imports torch.

    return NvjpegDecoder(preset, pillow, max_pixels=settings.max_image_pixels)


def _has_card() -> bool:
    """Whether torch can use a CUDA card. Imports torch only where the driver shows one."""
    driver = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()  # dxg: Windows' Linux.
    if not driver or find_spec("torch") is None:
        return False
    import torch

    # Not is_available(): it starts CUDA, after which a forked pool process cannot use the card.
    return torch.cuda.device_count() > 0

"""The model, and the workers that run it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from shared.jobs import Lane
from shared.settings.types import Count, Seconds


def cores() -> int:
    """The cores that this process may use. A container may have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


class WorkerSettings(BaseSettings):
    # The model
    model: str = "mobilenet_v3_large"
    """Name of any torchvision classification model, or the name or path of a model package."""
    model_weights: str = "DEFAULT"
    """`DEFAULT` (torchvision's), a `.pth` or `.safetensors` file, `demonstration` (ten classes,
    needs no download), or `random`."""
    model_labels: Path | None = None
    """File with one label per line; needed if the labels are not those of the default weights."""
    engine: Literal["auto", "onnxruntime", "openvino", "torch", "torch-cpu"] = "auto"
    """`auto` is torch on a CUDA card. On a CPU it is OpenVINO if that computes in bf16 here, else
    ONNX Runtime. With `torch`, a worker without a card does not start; `torch-cpu` is torch on a
    CPU."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` is bf16 if the processor has it and a check of the model passes, else fp32; on a card
    fp16. Set `fp32` if your machines differ."""

    # Workers
    lane: Lane = Lane.INTERACTIVE
    """Lane that a worker serves: `interactive` or `bulk`."""
    worker_processes: Count = Field(default_factory=cores)
    """Pool processes of a worker. With 1, the worker has another for slow pictures."""
    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    """Most images in one micro-batch."""
    batch_time_limit_seconds: Count = 45
    """A pool process that needs longer to begin or to end a micro-batch is killed."""
    part_deadline_seconds: Count = 60
    """If no worker starts on a part, or ends it, within this time, the part is queued again."""
    reconcile_seconds: Seconds = 5
    """How often a worker checks for parts whose deadline has passed."""
    model_grace_seconds: Annotated[float, Field(ge=20)] = 120
    """Parts wait so long for a worker of the model version that their job was accepted for. After
    that the current version answers them."""
    stall_seconds: Seconds = 30
    """A worker ends if the queue has messages and it takes none for this long."""

"""Chooses the engine of a worker without a card, and its precision."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shared.errors import ModelError
from shared.jobs import Lane
from shared.settings import Settings

if TYPE_CHECKING:
    from workers.engine import Engine
    from workers.engine.openvino_engine import OpenvinoEngine

logger = logging.getLogger(__name__)

INSTALL = "Install it with `make openvino`, or `pip install -r requirements/openvino.txt`."

#: Names of the instructions for bf16 in Linux's list. Only a hint: OpenVINO knows better.
_FLAGS = {"avx512_bf16", "amx_bf16"}
_CPUINFO = Path("/proc/cpuinfo")


def may_be_refused(settings: Settings) -> bool:
    """Whether the settings ask for what a machine may lack, so that `load` may raise."""
    return settings.engine == "openvino" or settings.precision == "bf16"


def load(settings: Settings, path: Path) -> Engine:
    """ONNX Runtime, or OpenVINO if it computes in bf16 or the settings name it.

    Raises ModelError if the settings ask for what is not installed or what this processor cannot
    do, or the export cannot be loaded.
    """
    asked = may_be_refused(settings)
    if not asked and (settings.engine != "auto" or settings.precision == "fp32"):
        return _onnxruntime(settings, path)  # In fp32 OpenVINO is not always faster.
    try:
        engine = _openvino(settings, path)
    except ImportError as error:
        if asked:
            raise ModelError(f"The settings ask for OpenVINO. {INSTALL} {error}") from error
        logger.info("OpenVINO cannot be used, so the engine is ONNX Runtime: %s", error)
        return _onnxruntime(settings, path)
    except ModelError as error:
        if asked:
            raise
        logger.warning("the engine is ONNX Runtime: %s", error)
        return _onnxruntime(settings, path)
    return engine or _onnxruntime(settings, path)


def unused_bf16(settings: Settings) -> bool:
    """Whether the processor has bf16 and `auto` leaves it because OpenVINO is not installed."""
    if settings.engine != "auto" or settings.precision != "auto" or find_spec("openvino"):
        return False
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _FLAGS.isdisjoint(flags.split())


def _onnxruntime(settings: Settings, path: Path) -> Engine:
    from workers.engine.onnx_engine import OnnxEngine

    return OnnxEngine.load(path, settings.model_labels, cores=settings.worker_processes)


def _openvino(settings: Settings, path: Path) -> Engine | None:
    """OpenVINO in the precision of the settings; None if `auto` is better served without it."""
    from workers.engine import openvino_engine  # May not be installed.

    if settings.precision != "fp32":
        if openvino_engine.computes_bf16():
            engine = _in_bf16(settings, path)
            if engine:
                return engine
        elif settings.precision == "bf16":
            raise ModelError(
                "PRECISION=bf16 needs a processor with instructions for bf16 (AVX-512 BF16, AMX). "
                "Set PRECISION=auto or fp32."
            )
    return _loaded(settings, path, "fp32") if settings.engine == "openvino" else None


def _in_bf16(settings: Settings, path: Path) -> OpenvinoEngine | None:
    """OpenVINO in bf16. With PRECISION=auto, None if bf16 changes results too much or is slow."""
    from workers.engine import bf16_check

    if settings.precision == "bf16":
        return _loaded(settings, path, "bf16")
    verdict = bf16_check.stored(path, settings)
    if verdict and not verdict.passed:
        logger.info("bf16 is not used: %s", verdict)
        return None
    engine = _loaded(settings, path, "bf16")
    verdict = verdict or bf16_check.compare(engine, path, settings)
    return engine if verdict.passed else None


def _loaded(settings: Settings, path: Path, precision: Literal["fp32", "bf16"]) -> OpenvinoEngine:
    from workers.engine.openvino_engine import OpenvinoEngine

    cores = settings.worker_processes
    return OpenvinoEngine.load(
        path,
        settings.model_labels,
        precision=precision,
        cores=cores,
        for_users=settings.lane is Lane.INTERACTIVE,
    )

"""A pool process that replaces another serves the same version, or ends its worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shared.settings import Settings
from workers.upkeep import one_model

ONNX = {"version": "m", "engine": "onnxruntime", "precision": "fp32"}
OPENVINO = {"version": "m-bf16", "engine": "openvino", "precision": "bf16"}
OTHER_WEIGHTS = ONNX | {"version": "another"}


def announcement(of: dict[str, str]) -> str:
    others = {"name": "m", "weights": "w", "weights_digest": "d", "classes": 2, "input_size": 8}
    return json.dumps(others | of)


def machine(auto: dict[str, str], on_load: Callable[[], object] = int) -> Callable[..., Any]:
    """Loads the engine that the settings name, or `auto`."""

    def load(settings: Settings) -> Any:
        on_load()
        chosen = next(
            (each for each in (ONNX, OPENVINO) if each["engine"] == settings.engine), auto
        )
        if auto is OTHER_WEIGHTS:
            chosen = auto
        return SimpleNamespace(name=chosen["engine"], model=SimpleNamespace(**chosen))

    return load


@pytest.mark.parametrize(("served", "found"), [(ONNX, OPENVINO), (OPENVINO, ONNX)])
def test_another_process_takes_the_engine_of_the_first(
    served: dict[str, str], found: dict[str, str]
) -> None:
    """An operator has installed OpenVINO meanwhile, or has removed it."""
    engine = one_model.load(Settings(), lambda: announcement(served), machine(found))
    assert engine.model.version == served["version"]


def test_the_first_process_chooses() -> None:
    engine = one_model.load(Settings(), str, machine(OPENVINO))
    assert engine.model.version == "m-bf16"


def test_the_first_of_two_that_load_at_the_same_time_chooses() -> None:
    announced: list[str] = []
    load = machine(OPENVINO, lambda: announced.append(announcement(ONNX)))
    engine = one_model.load(Settings(), lambda: announced[-1] if announced else "", load)
    assert engine.model.version == "m"


def test_a_process_that_finds_other_weights_ends() -> None:
    with pytest.raises(one_model.AnotherModel, match="serves m, but a new process finds another"):
        one_model.load(Settings(), lambda: announcement(ONNX), machine(OTHER_WEIGHTS))

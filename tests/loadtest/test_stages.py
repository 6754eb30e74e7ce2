"""Which stages a bare loop runs, and which of them is named as the limit. No time is measured."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from loadtest import stages
from loadtest.measure import limit
from shared.settings import Settings

AT_ONCE = 4


@pytest.mark.parametrize(
    ("model", "decode", "both", "drained", "named"),
    [
        (100, 300, 75, 72, "the model"),
        (300, 100, 75, 72, "decoding"),
        (100, 105, 51, 50, "decoding and the model alike"),
        (100, 300, 75, 40, "the queue and the worker around decoding and model"),
    ],
)
def test_the_slowest_stage_is_named_as_the_limit(
    model: float, decode: float, both: float, drained: float, named: str
) -> None:
    rates = {"model": [model], "decode": [decode], "both": [both], "drained": [drained]}
    text = stages.table(rates, Settings(), "pictures", "an engine")
    assert text.splitlines()[-1] == f"The limit: {named}."


@pytest.mark.parametrize(
    ("of", "decoded", "classified"),
    [(("model",), 0, 10), (("decode",), 10, 0), (("decode", "model"), 10, 10)],
)
def test_a_bare_loop_runs_the_stages_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, of: tuple[limit.Stage, ...], decoded: int, classified: int
) -> None:
    seen = {"decode": 0, "model": 0}

    def decode(*_: Any, **__: Any) -> Any:
        seen["decode"] += 1
        return np.zeros(1)

    def predict(pixels: Any) -> None:
        seen["model"] += len(pixels)

    engine = SimpleNamespace(
        model=SimpleNamespace(preset=None), pictures_at_once=AT_ONCE, predict=predict
    )
    monkeypatch.setattr(limit, "decode", decode)
    monkeypatch.setattr(limit, "load_engine", lambda _: engine)
    limit._loop([b"a", b"b"], 10, Settings(), of, threading.Barrier(1))  # type: ignore[arg-type]
    # It decodes and classifies one batch before the measurement begins.
    assert seen == {"decode": AT_ONCE + decoded, "model": AT_ONCE + classified}

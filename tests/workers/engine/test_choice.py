"""The settings choose the engine, the export and the weights file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.errors import ModelError
from shared.settings import Settings
from workers import engine
from workers.engine import find_export, uses_torch
from workers.engine.export import export

ROOT = Path(__file__).parents[3]


def settings(folder: Path, weights: str) -> Settings:
    return Settings(
        model="squeezenet1_1",
        model_weights=weights,
        model_labels=None,
        engine="onnxruntime",
        data_dir=folder,
    )


def test_without_a_card_the_engine_is_not_torch() -> None:
    if any(Path("/dev").glob("nvidia*")) or Path("/dev/dxg").exists():
        pytest.skip("this machine has a card")
    assert not uses_torch(Settings(engine="auto"))
    program = (
        "import sys; from shared.settings import Settings; from workers.engine import *\n"
        "uses_torch(Settings(engine='auto')); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_card_without_torch_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_has_driver", lambda: True)
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    assert engine.unused_card(Settings(engine="auto"))
    assert not engine.unused_card(Settings(engine="onnxruntime"))
    monkeypatch.setattr(engine, "find_spec", lambda name: name)
    assert not engine.unused_card(Settings(engine="auto"))
    monkeypatch.setattr(engine, "_has_driver", lambda: False)
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    assert not engine.unused_card(Settings(engine="auto"))


@pytest.mark.parametrize(
    ("name", "torch"),
    [("onnxruntime", False), ("openvino", False), ("torch", True), ("torch-cpu", True)],
)
def test_the_setting_names_the_engine(name: str, torch: bool) -> None:
    assert uses_torch(Settings(engine=name)) == torch


def test_auto_leaves_a_card_that_cannot_compute_in_the_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_has_card", lambda: True)
    assert uses_torch(Settings(engine="auto", precision="fp32"))
    assert not uses_torch(Settings(engine="auto", precision="bf16"))


@pytest.mark.parametrize("name", ["onnxruntime", "torch", "torch-cpu"])
def test_an_engine_that_cannot_compute_in_bf16_is_refused_with_it(name: str) -> None:
    with pytest.raises(ValidationError, match="PRECISION=bf16 needs ENGINE=openvino or auto"):
        Settings(engine=name, precision="bf16")


#: A worker's program on a machine where torch is installed and finds no driver.
_WITHOUT_CARD = """
import importlib.util as util, sys, types
sys.modules["torch"] = types.ModuleType("torch")
sys.modules["torch"].__spec__ = util.spec_from_loader("torch", None)
sys.modules["torch"].cuda = types.SimpleNamespace(device_count=lambda: 0)
import workers.app
workers.app._check_model()
"""


def test_a_worker_that_was_to_use_a_card_does_not_start_without_one(tmp_path: Path) -> None:
    own = {"ENGINE": "torch", "DATA_DIR": str(tmp_path), "LOG_FORMAT": "text"}
    run = subprocess.run(
        [sys.executable, "-c", _WITHOUT_CARD],
        cwd=ROOT,
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    [line] = run.stdout.splitlines()
    assert "CRITICAL" in line and "ENGINE=torch needs a CUDA card" in line
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("call", ["workers.engine.export.export", "workers.engine.load_engine"])
def test_if_torch_is_not_installed_the_error_says_what_to_install(
    tmp_path: Path, call: str
) -> None:
    module, _, function = call.rpartition(".")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from shared.errors import ModelError; from shared.settings import Settings\n"
        f"from {module} import {function}\n"
        f"try: {function}(Settings(engine='torch'))\n"
        "except ModelError as error: print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"DATA_DIR": str(tmp_path), "MODEL_WEIGHTS": "random"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "needs PyTorch" in run.stdout and "`make torch`" in run.stdout


def test_the_newest_export_of_downloaded_weights_is_used(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for age, name in enumerate(("squeezenet1_1-default-b", "squeezenet1_1-default-a")):
        path = models / f"{name}-p2.onnx"
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    for other in (
        ".squeezenet1_1-default-c-p2.onnx.partial",
        "squeezenet1_1-default-c-p0.onnx",
        "squeezenet1_1-random-c-p2.onnx",
        "squeezenet1_0-default-c-p2.onnx",
    ):
        (models / other).touch()
    assert find_export(settings(tmp_path, "DEFAULT")) == models / "squeezenet1_1-default-b-p2.onnx"


def test_a_missing_weights_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing.pth is neither DEFAULT .* nor a file"):
        export(settings(tmp_path, str(tmp_path / "missing.pth")))

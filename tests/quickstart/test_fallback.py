"""Without a network the quick start classifies all the same, and says with what."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from client.cli.demo import sample_pictures
from tests.support.local_service import free_port
from quickstart.fallback import fallback
from shared.errors import ClassifierError
from shared.settings import Settings
from tests.quickstart.terminal import running
from tests.support.silent_proxy import SilentProxy, silent_proxy
from workers.engine.torchvision_model import torchvision

_NAMES = ("MODEL", "MODEL_WEIGHTS", "MODEL_LABELS", "ENGINE", "MODELS_DIR", "REDIS_URL")


@pytest.fixture
def proxy() -> Iterator[SilentProxy]:
    with silent_proxy() as running:
        yield running


@pytest.fixture
def alone(
    proxy: SilentProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """A machine whose network swallows everything, with nothing fetched before, and no wishes."""
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return monkeypatch


def cached_weights(folder: Path) -> Path:
    """Where torch keeps what it has downloaded of the default model."""
    url = torchvision.models.MobileNet_V3_Large_Weights.DEFAULT.url
    path = folder / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    return path


def test_a_download_that_nothing_answers_is_tried_once_a_start_and_given_up_in_seconds(
    alone: pytest.MonkeyPatch, proxy: SilentProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    assert fallback(Settings()) == {"MODEL_WEIGHTS": "demonstration"}
    assert time.monotonic() - started < 30  # Of which most is importing torch on a busy machine.
    assert len(proxy.connections) == 1
    told = capfd.readouterr().out
    assert "no answer in 5 s" in told and "demonstration model" in told
    fallback(Settings())
    assert len(proxy.connections) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_WEIGHTS", "DEFAULT"),
        ("MODEL_WEIGHTS", "mine.safetensors"),
        ("MODEL", "mobilenet_v3_large"),
        ("MODEL_LABELS", "labels.txt"),
    ],
)
def test_whoever_names_a_model_gets_no_other(
    alone: pytest.MonkeyPatch, proxy: SilentProxy, name: str, value: str
) -> None:
    alone.setenv(name, value)
    assert fallback(Settings()) == {}
    assert not proxy.connections


def test_what_was_fetched_before_needs_no_attempt(
    alone: pytest.MonkeyPatch, proxy: SilentProxy, tmp_path: Path
) -> None:
    cached_weights(tmp_path).touch()
    assert fallback(Settings()) == {}
    assert not proxy.connections


def test_an_export_that_was_made_before_needs_no_attempt(
    alone: pytest.MonkeyPatch, proxy: SilentProxy
) -> None:
    alone.setenv("ENGINE", "onnxruntime")
    models = Settings().models_dir
    models.mkdir(parents=True)
    (models / "mobilenet_v3_large-default-0123456789ab-p1.onnx").touch()
    assert fallback(Settings()) == {}
    assert not proxy.connections


def test_what_the_network_is_not_to_blame_for_stops_the_start(
    alone: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    alone.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ClassifierError, match="needs torch, see requirements/export.txt"):
        fallback(Settings())


def test_a_first_start_without_a_network_knows_a_cat_and_a_later_one_has_the_usual_model(
    alone: pytest.MonkeyPatch, proxy: SilentProxy, tmp_path: Path
) -> None:
    environment = os.environ | {
        "WEB_PORT": str(free_port()),
        "FLOWER_PORT": str(free_port()),
        "WEB_PROCESSES": "1",
        "WORKER_PROCESSES": "1",
    }
    cat = sample_pictures()[0].read_bytes()
    with running(environment) as first, httpx.Client(base_url=first.url, timeout=60) as http:
        answer = http.post("/api/v1/classify", content=cat).json()
        model = http.get("/api/v1/model/info").json()
        shown = " ".join(first.text.split())
    assert answer["predictions"][0]["class_name"] == "cat"
    assert "-demonstration-" in answer["model_version"] == model["version"]
    assert model["name"].endswith(" (demonstration model)")
    assert model["weights"] == "demonstration" and model["classes"] == 10
    assert model["notice"].startswith("demonstration model (10 classes); for ImageNet's 1,000")
    assert f"NOTE: {model['notice']}" in shown
    assert len(proxy.connections) == 1

    # The network is back; torchvision's file with other numbers.
    torch.save(torchvision.models.mobilenet_v3_large().state_dict(), cached_weights(tmp_path))
    with running(environment) as second, httpx.Client(base_url=second.url, timeout=60) as http:
        again = http.post("/api/v1/classify", content=cat).json()
        model = http.get("/api/v1/model/info").json()
    assert again["model_version"] == model["version"] != answer["model_version"]
    assert (again["cache_hit"], model["notice"], model["classes"]) == (False, "", 1000)
    assert "Ready: mobilenet_v3_large, version" in second.text
    assert len(proxy.connections) == 1

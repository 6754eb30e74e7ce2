"""Without a network the quick start still classifies, and it says which model does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client.cli.demo import sample_pictures
from tests.support.ports import free_port
from quickstart.fallback import fallback
from shared.errors import ClassifierError
from shared.settings import Settings
from tests.quickstart.terminal import running
from tests.support.silent_proxy import SilentProxy, silent_proxy
from tests.workers.engine.state_dict import default_state, pth_bytes
from workers.engine.graph.graph import weights_of

_NAMES = ("MODEL", "MODEL_WEIGHTS", "MODEL_LABELS", "ENGINE", "MODELS_DIR", "REDIS_URL")


@pytest.fixture
def proxy() -> Iterator[SilentProxy]:
    with silent_proxy() as running:
        yield running


@pytest.fixture
def alone(
    proxy: SilentProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """A machine with a network that never answers, without weights and without settings."""
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return monkeypatch


def cached_weights(folder: Path) -> Path:
    """The file in which torch keeps the downloaded weights of the default model."""
    weights = weights_of(Settings.model_fields["model"].default)
    assert weights
    path = folder / "torch" / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    return path


def test_a_network_that_refuses_leaves_the_demonstration_model(
    alone: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    alone.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    assert fallback(Settings()) == {"MODEL_WEIGHTS": "demonstration"}
    shown = capfd.readouterr().out
    assert "cannot be downloaded" in shown and "Now the demonstration model classifies" in shown


@pytest.mark.long
def test_each_start_tries_the_download_once_and_gives_up_after_seconds(
    alone: pytest.MonkeyPatch, proxy: SilentProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    assert fallback(Settings()) == {"MODEL_WEIGHTS": "demonstration"}
    assert time.monotonic() - started < 30
    assert len(proxy.connections) == 1
    shown = capfd.readouterr().out
    assert "no answer in 5 s" in shown and "demonstration model" in shown
    fallback(Settings())
    assert len(proxy.connections) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_WEIGHTS", "DEFAULT"),
        ("MODEL", "mobilenet_v3_large"),
        ("MODEL_LABELS", "labels.txt"),
    ],
)
def test_a_user_who_names_a_model_gets_no_other(
    alone: pytest.MonkeyPatch, proxy: SilentProxy, name: str, value: str
) -> None:
    alone.setenv(name, value)
    assert fallback(Settings()) == {}
    assert not proxy.connections


def test_weights_that_are_missing_are_named_before_the_start(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("MODEL_WEIGHTS", "mine.safetensors")
    with pytest.raises(ClassifierError, match="mine.safetensors is .* No such file"):
        fallback(Settings())


def test_weights_from_an_earlier_download_need_no_attempt(
    alone: pytest.MonkeyPatch, proxy: SilentProxy, tmp_path: Path
) -> None:
    cached_weights(tmp_path).touch()
    assert fallback(Settings()) == {}
    assert not proxy.connections


def test_an_export_from_an_earlier_start_needs_no_attempt(
    alone: pytest.MonkeyPatch, proxy: SilentProxy
) -> None:
    alone.setenv("ENGINE", "onnxruntime")
    models = Settings().models_dir
    models.mkdir(parents=True)
    (models / "mobilenet_v3_large-default-0123456789ab-p2.onnx").touch()
    assert fallback(Settings()) == {}
    assert not proxy.connections


def test_a_fault_that_is_not_the_network_s_stops_the_start(
    alone: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = "import io, urllib.request\nurllib.request.urlopen = lambda *_, **__: io.BytesIO()"
    (tmp_path / "sitecustomize.py").write_text(answers)
    (tmp_path / "torch").write_text("a file where a folder should be")
    alone.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ClassifierError, match="cannot be downloaded.*Not a directory"):
        fallback(Settings())


@pytest.mark.long
def test_a_start_without_a_network_labels_a_cat_and_a_later_start_has_the_usual_model(
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

    # Now the weights are there: the file that torchvision downloads, with random numbers.
    cached_weights(tmp_path).write_bytes(pth_bytes(default_state()))
    with running(environment) as second, httpx.Client(base_url=second.url, timeout=60) as http:
        again = http.post("/api/v1/classify", content=cat).json()
        model = http.get("/api/v1/model/info").json()
    assert again["model_version"] == model["version"] != answer["model_version"]
    assert (again["cache_hit"], model["notice"], model["classes"]) == (False, "", 1000)
    assert "Ready: mobilenet_v3_large, version" in second.text
    assert len(proxy.connections) == 1

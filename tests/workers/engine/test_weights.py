"""Weights: what a file brings besides its numbers, and what happens where none can be had."""

from __future__ import annotations

import json
import hashlib
import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from shared.errors import ModelError, WeightsUnreachable
from shared.settings import Settings
from tests.support.silent_proxy import silent_proxy
from workers.engine import load_engine
from workers.engine.download import download
from workers.engine.torchvision_model import build, torchvision
from workers.engine.weights_file import DESCRIPTION_ENTRY, Description
from workers.engine.export import export
from workers.decode.preprocessing import Preset

ROOT = Path(__file__).parents[3]

DESCRIPTION = Description(
    variant="sample model",
    notice="three classes only",
    labels=("circle", "square", "star"),
    preset=Preset(
        resize_size=40,
        crop_size=32,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
        interpolation="bicubic",
    ),
    enlarged_size=48,
)


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small model of random weights, in a file that brings labels and preset."""
    folder = tmp_path_factory.mktemp("described")
    torch.manual_seed(0)
    network = build("mobilenet_v3_small", DESCRIPTION.preset, classes=3)
    weights = folder / "shapes.safetensors"
    entry = TypeAdapter(Description).dump_json(DESCRIPTION).decode()
    save_file(network.state_dict(), weights, {DESCRIPTION_ENTRY: entry})
    return Settings(
        model="mobilenet_v3_small", model_weights=str(weights), model_labels=None, data_dir=folder
    )


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_weights_bring_their_labels_and_preset(described: Settings, name: str) -> None:
    settings = described.model_copy(update={"engine": name})
    export(settings)
    model = load_engine(settings).model
    assert (model.labels, model.preset) == (DESCRIPTION.labels, DESCRIPTION.preset)
    assert model.name == "mobilenet_v3_small (sample model)"
    assert model.version == f"mobilenet_v3_small-sample-{model.weights_digest[:12]}-p1"
    assert model.notice == "three classes only"


def test_pictures_are_enlarged_for_the_network_as_described(described: Settings) -> None:
    export(described)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    network = build("mobilenet_v3_small", DESCRIPTION.preset, classes=3)
    network.load_state_dict(load_file(described.model_weights))
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        enlarged = torch.nn.functional.interpolate(images, (48, 48), mode="bilinear")
        expected = network.eval()(enlarged).softmax(1).numpy()
    assert load_engine(described).predict(pixels) == pytest.approx(expected, abs=1e-5)


def test_weights_that_say_what_they_are_of_need_no_model_named(described: Settings) -> None:
    """And no other may be."""
    told = replace(DESCRIPTION, architecture="mobilenet_v3_small")
    weights = described.data_dir / "told.safetensors"
    entry = TypeAdapter(Description).dump_json(told).decode()
    save_file(load_file(described.model_weights), weights, {DESCRIPTION_ENTRY: entry})
    update = {"model_weights": str(weights), "model": Settings.model_fields["model"].default}
    export(described.model_copy(update=update))
    model = load_engine(described.model_copy(update=update)).model
    assert model.name == "mobilenet_v3_small (sample model)"
    update["model"] = "resnet18"
    with pytest.raises(ModelError, match="told.safetensors is a mobilenet.*, not MODEL=resnet18"):
        export(described.model_copy(update=update))


def test_a_description_that_makes_no_sense_is_a_model_error(tmp_path: Path) -> None:
    weights = tmp_path / "odd.safetensors"
    save_file({"a": torch.zeros(1)}, weights, {DESCRIPTION_ENTRY: json.dumps({"labels": 3})})
    with pytest.raises(ModelError, match="odd.safetensors cannot be read as weights"):
        export(Settings(model_weights=str(weights), model_labels=None, data_dir=tmp_path))


def test_a_network_that_swallows_everything_is_given_up_within_seconds(tmp_path: Path) -> None:
    with silent_proxy() as proxy:
        started = time.monotonic()
        refused = subprocess.run(
            [sys.executable, "-m", "workers.engine.export"],
            cwd=ROOT,
            env={"DATA_DIR": str(tmp_path), "TORCH_HOME": str(tmp_path), "https_proxy": proxy.url},
            capture_output=True,
            text=True,
        )
    assert refused.returncode == 2
    assert "no answer in 5 s" in refused.stderr
    assert "MODEL_WEIGHTS=<file>" in refused.stderr
    assert time.monotonic() - started < 30  # Of which most is importing torch on a busy machine.


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Published(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


class Published:
    """Weights as torchvision publishes them: at an address that carries their digest."""

    content = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, content)

    def __init__(self, site: str) -> None:
        self.site = site

    def at(self, path: str) -> Any:
        digest = hashlib.sha256(self.content.getvalue()).hexdigest()[:8]
        weights = torchvision.models.Weights(f"{self.site}{path}/mine-{digest}.pth", None, {})
        return torchvision.models.WeightsEnum("Mine", {"DEFAULT": weights}).DEFAULT


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        """The weights at the root, another's page at `/page`, and nothing elsewhere."""
        status = 404 if self.path.startswith("/nothing") else 200
        self.send_response(status)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        page = b"<p>Welcome to our hotel"
        self.wfile.write(page if "/page" in self.path else Published.content.getvalue())

    def log_message(self, *_: object) -> None:
        pass


def test_what_is_fetched_is_kept(published: Published) -> None:
    path = download(published.at(""))
    assert path.read_bytes() == Published.content.getvalue()
    assert download(published.at("/nothing")) == path


@pytest.mark.parametrize("path", ["/nothing", "/page"])
def test_what_comes_in_the_place_of_weights_is_the_networks_fault(
    published: Published, path: str
) -> None:
    with pytest.raises(WeightsUnreachable, match="MODEL_WEIGHTS=demonstration"):
        download(published.at(path))


def test_what_cannot_be_kept_is_not_the_networks_fault(
    published: Published, tmp_path: Path
) -> None:
    (tmp_path / "torch").write_text("a file where torch wants a folder")
    with pytest.raises(ModelError) as refused:
        download(published.at(""))
    assert refused.type is ModelError

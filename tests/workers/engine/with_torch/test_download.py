"""torchvision's weights are downloaded once, or an error says why not and what to do."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import ModelError, WeightsUnreachable
from tests.workers.engine.with_torch.squeezenet import save_pth, settings, state_of
from workers.engine import download as download_module
from workers.engine import load_engine
from workers.engine.download import download
from workers.engine.export import export
from workers.engine.torchvision_model import torchvision

pytestmark = pytest.mark.torch


class Published:
    """Weights as torchvision publishes them, at a URL that contains their digest."""

    content = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, content)

    def __init__(self, site: str) -> None:
        self.site = site

    def at(self, path: str) -> Any:
        digest = hashlib.sha256(self.content.getvalue()).hexdigest()[:8]
        weights = torchvision.models.Weights(f"{self.site}{path}/mine-{digest}.pth", None, {})
        return torchvision.models.WeightsEnum("Mine", {"DEFAULT": weights}).DEFAULT


class Handler(BaseHTTPRequestHandler):
    """Serves the weights at the root, another page at `/page`, and nothing at `/nothing`."""

    def do_HEAD(self) -> None:
        status = 404 if self.path.startswith("/nothing") else 200
        self.send_response(status)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        page = b"<p>Welcome to our hotel"
        self.wfile.write(page if "/page" in self.path else Published.content.getvalue())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Published(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def test_downloaded_weights_are_kept(published: Published) -> None:
    path = download(published.at(""))
    assert path.read_bytes() == Published.content.getvalue()
    assert download(published.at("/nothing")) == path


@pytest.mark.parametrize("path", ["/nothing", "/page"])
def test_a_missing_file_and_another_page_are_errors_of_the_network(
    published: Published, path: str
) -> None:
    with pytest.raises(WeightsUnreachable, match="MODEL_WEIGHTS=demonstration"):
        download(published.at(path))


def test_a_server_that_never_answers_is_given_up(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "_FIRST_ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        published.site = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(WeightsUnreachable, match="no answer in 0.1 s.*MODEL_WEIGHTS=<file>"):
            download(published.at(""))


def test_a_folder_that_cannot_be_written_is_not_an_error_of_the_network(
    published: Published, tmp_path: Path
) -> None:
    (tmp_path / "torch").write_text("a file where torch expects a folder")
    with pytest.raises(ModelError) as refused:
        download(published.at(""))
    assert refused.type is ModelError


def test_weights_in_torchs_cache_need_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(socket, "create_connection", refuse)
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    name = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    save_pth(state_of("squeezenet1_1"), cache / name)
    export(settings(tmp_path, "DEFAULT"))
    model = load_engine(settings(tmp_path, "DEFAULT")).model
    assert (model.name, model.weights) == ("squeezenet1_1", "DEFAULT")

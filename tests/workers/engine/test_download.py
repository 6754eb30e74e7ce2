"""torchvision's weights are downloaded once, or an error says why not and what to do."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared.errors import ModelError, WeightsUnreachable
from shared.settings import Settings
from tests.workers.engine.state_dict import default_state, pth_bytes
from workers.engine import load_engine
from workers.engine.export import export
from workers.engine.graph.graph import weights_of
from workers.engine.weights import download as download_module
from workers.engine.weights.download import download

CONTENT = bytes(range(256)) * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves the weights at the root, and worse answers in three folders."""

    def do_HEAD(self) -> None:
        status = 404 if self.path.startswith("/nothing") else 200
        self.send_response(status)
        if "/half" in self.path:
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        page = b"<p>Welcome to our hotel"
        content = CONTENT[:-1] if "/half" in self.path else CONTENT
        self.wfile.write(page if "/page" in self.path else content)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Site:
    url: str
    settings: Settings

    def download(self, folder: str = "") -> Path:
        return download(f"{self.url}{folder}/mine-{DIGEST[:8]}.pth", self.settings)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield Site(url, Settings(torch_home=tmp_path / "torch"))
        server.shutdown()
        thread.join()


def test_downloaded_weights_are_kept(site: Site, tmp_path: Path) -> None:
    path = site.download()
    assert path == tmp_path / "torch/hub/checkpoints" / path.name
    assert path.read_bytes() == CONTENT
    assert site.download("/nothing") == path


@pytest.mark.parametrize("folder", ["/nothing", "/page", "/half"])
def test_a_missing_file_and_another_content_are_errors_of_the_network(
    site: Site, folder: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsUnreachable, match="MODEL_WEIGHTS=demonstration"):
        site.download(folder)
    assert not list((tmp_path / "torch").rglob("*.p*[hl]"))
    assert site.download().read_bytes() == CONTENT


def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "_FIRST_ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site = Site(f"http://127.0.0.1:{silent.getsockname()[1]}", Settings(torch_home=tmp_path))
        with pytest.raises(WeightsUnreachable, match="no answer in 0.1 s") as raised:
            site.download()
    assert str(raised.value).endswith(
        " Connect this machine to the network and try again. Or set MODEL_WEIGHTS=<file> if you"
        " have the weights. Or set MODEL_WEIGHTS=demonstration for a small model with ten classes,"
        " which needs no download."
    )


def test_the_message_has_the_words_of_the_system_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site = Site(f"http://127.0.0.1:{port}", Settings(torch_home=tmp_path))
    with pytest.raises(WeightsUnreachable, match=r"th: \[Errno \d+\] Connection refused\. Connect"):
        site.download()


def test_a_folder_that_cannot_be_written_is_not_an_error_of_the_network(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "torch").write_text("a file where torch expects a folder")
    with pytest.raises(ModelError) as refused:
        site.download()
    assert refused.type is ModelError


@pytest.mark.parametrize(
    ("variables", "folder"),
    [({}, "~/.cache/torch"), ({"XDG_CACHE_HOME": "/c"}, "/c/torch"), ({"TORCH_HOME": "/t"}, "/t")],
)
def test_the_cache_is_that_of_torch(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().torch_home == Path(folder)


def test_weights_in_torchs_cache_need_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "create_connection", refuse)
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    weights = weights_of("mobilenet_v3_large")
    assert weights
    (cache / weights.url.rpartition("/")[2]).write_bytes(pth_bytes(default_state()))
    settings = Settings(
        model="mobilenet_v3_large",
        model_weights="DEFAULT",
        model_labels=None,
        engine="onnxruntime",
        data_dir=tmp_path,
        models_dir=tmp_path / "models",
        torch_home=tmp_path / "torch",
    )
    export(settings)
    model = load_engine(settings).model
    assert (model.name, model.weights) == ("mobilenet_v3_large", "DEFAULT")

"""Ready means that a picture was classified. Until then the terminal shows the obstacle."""

from __future__ import annotations

import io
import itertools
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from quickstart import addresses, ready
from quickstart.addresses import api_url, flower_url, network_url
from quickstart.ready import banner, new_picture, wait_until_ready
from shared.errors import ClassifierError
from shared.serving.model_info import ModelInfo
from shared.settings import Settings
from tests.support.ports import free_port

MODEL = ModelInfo(
    name="mobilenet_v3_large",
    version="mobilenet_v3_large-0123456789ab-p2",
    weights="DEFAULT",
    weights_digest="0123456789ab",
    engine="onnxruntime",
    classes=1000,
    input_size=224,
)


class Starting(BaseHTTPRequestHandler):
    """A service whose worker has loaded its model when the third request comes."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        if self.asked <= 2:
            self._answer(503, {"code": "model_not_ready"})
        else:
            self._answer(200, vars(MODEL))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, {"predictions": []})

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def starting_service() -> Iterator[str]:
    with serving(Starting) as url:
        yield url


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_each_obstacle_is_shown_once(starting_service: str) -> None:
    said: list[str] = []
    assert wait_until_ready(starting_service, say=said.append) == MODEL
    [line] = said
    assert line.startswith("Waiting: a worker is loading the model (the first start")


def test_the_wait_ends_and_names_the_obstacle() -> None:
    with pytest.raises(ClassifierError, match="not ready after 0 s: the web process is starting"):
        wait_until_ready(f"http://127.0.0.1:{free_port()}", say=print, limit_seconds=0.2)


@pytest.mark.parametrize("status", [202, 429, 503])
def test_a_service_that_is_too_busy_for_the_picture_is_no_failure(
    status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients may have sent much before the service was started again."""

    class Busy(Starting):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(status, {"code": "overloaded"})

    with serving(Busy) as url:
        monkeypatch.setenv("WEB_PORT", url.rpartition(":")[2])
        monkeypatch.setattr(ready, "wait_until_ready", partial(wait_until_ready, limit_seconds=0.5))
        monkeypatch.setattr(signal, "pause", lambda: None)
        ready.main()
    said = capsys.readouterr().out
    assert (
        "No picture was classified: not ready after 0 s" in said and f"Ready: {MODEL.name}" in said
    )


def test_time_in_which_the_program_was_stopped_does_not_count(starting_service: str) -> None:
    times = itertools.count(step=3600)
    assert wait_until_ready(starting_service, say=print, clock=lambda: next(times)) == MODEL


def test_a_service_that_refuses_the_key_ends_the_wait() -> None:
    class Guarded(Starting):
        def do_GET(self) -> None:
            right = self.headers["X-API-Key"] == "right"
            self._answer(200, vars(MODEL)) if right else self._answer(401, {})

    with serving(Guarded) as url:
        with pytest.raises(ClassifierError, match="API_KEY"):
            wait_until_ready(url, say=print)
        assert wait_until_ready(url, say=print, key="right") == MODEL


def test_a_service_that_has_stopped_ends_the_wait() -> None:
    def check() -> None:
        raise ClassifierError("it has stopped")

    with pytest.raises(ClassifierError, match="it has stopped"):
        wait_until_ready(f"http://127.0.0.1:{free_port()}", say=print, check=check)


def test_each_picture_is_valid_and_new_to_the_result_cache() -> None:
    first, second = new_picture(), new_picture()
    assert first != second
    with Image.open(io.BytesIO(first)) as picture:
        picture.load()
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (32, 32))


def test_the_banner_shows_each_address_and_commands_to_try() -> None:
    text = banner(Settings(web_port=8000, flower_port=5555), MODEL)
    for part in (
        "mobilenet_v3_large-0123456789ab-p2",
        "http://127.0.0.1:8000/docs",
        "http://127.0.0.1:8000/redoc",
        "http://127.0.0.1:5555",
        "curl -F file=@picture.jpg 127.0.0.1:8000/api/v1/classify",
        "  make demo",
    ):
        assert part in text


def test_the_banner_shows_the_notice_of_the_model() -> None:
    special = replace(MODEL, notice="demonstration model (10 classes)")
    assert "\n  NOTE: demonstration model (10 classes)\n" in banner(Settings(), special)
    assert "NOTE" not in banner(Settings(), MODEL)


def test_the_banner_s_commands_have_the_port_of_the_settings() -> None:
    text = banner(Settings(web_port=8123), MODEL)
    assert "127.0.0.1:8123/api/v1/classify" in text
    assert "WEB_PORT=8123 make demo" in text


def test_the_banner_s_commands_find_a_service_on_another_address() -> None:
    text = banner(Settings(host="::1", web_port=8123), MODEL)
    assert "\n  http://[::1]:8123\n" in text
    assert "curl -F file=@picture.jpg '[::1]:8123/api/v1/classify'" in text
    assert "HOST=::1 WEB_PORT=8123 make demo" in text


def test_the_banner_s_commands_say_where_the_api_key_goes() -> None:
    assert "imgc_" not in banner(Settings(), MODEL)
    text = banner(Settings(api_keys_file=Path("keys"), api_key="imgc_secret"), MODEL)
    assert "curl -H 'X-API-Key: imgc_…' -F file=@picture.jpg 127.0.0.1:8000" in text
    assert "API_KEY=imgc_… make demo" in text and "secret" not in text


def test_the_banner_s_curl_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--noproxy" not in banner(Settings(), MODEL)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert "curl --noproxy '*' -F file=@picture.jpg 127.0.0.1:8000" in banner(Settings(), MODEL)


def test_the_banner_has_the_address_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Network" not in banner(Settings(), MODEL)
    monkeypatch.setattr(addresses, "_ELSEWHERE", ("127.0.0.9", 9))
    assert network_url(Settings(host="0.0.0.0", web_port=8123)) == "http://127.0.0.1:8123"
    assert "Network  http://127.0.0.1:8000" in banner(Settings(host="::"), MODEL)


ODD = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "socks://127.0.0.1:7890/",
    "NO_PROXY": "[::1],127.0.0.1/8, ,*.local",
    "SSL_CERT_FILE": "/nonexistent/cacert.pem",
    "SSL_CERT_DIR": "/nonexistent",
    "REQUESTS_CA_BUNDLE": "/nonexistent/cacert.pem",
    "CURL_CA_BUNDLE": "/nonexistent/cacert.pem",
    "SSLKEYLOGFILE": "/nonexistent/keys",
}


@pytest.mark.parametrize("name", ODD)
def test_no_variable_for_other_machines_reaches_the_service_on_this_one(
    name: str, monkeypatch: pytest.MonkeyPatch, starting_service: str
) -> None:
    monkeypatch.setenv(name, ODD[name])
    assert wait_until_ready(starting_service, say=print, limit_seconds=5) == MODEL


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("localhost", "http://localhost:8000"),
        ("10.0.0.5", "http://10.0.0.5:8000"),
    ],
)
def test_an_address_to_listen_on_gives_an_address_to_call(host: str, url: str) -> None:
    assert api_url(Settings(host=host, web_port=8000)) == url
    assert flower_url(Settings(host=host, flower_port=8000)) == url

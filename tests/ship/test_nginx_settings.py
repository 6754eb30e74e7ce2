"""nginx's limits and times are a little larger than the application's, and its names match."""

from __future__ import annotations

import getpass
import re
import runpy
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import crossplane
import httpx
import pytest

from shared.settings import Settings
from tests.support.ports import free_port
from tests.support.programs import installed
from tests.support.waiting import wait_until

_ROOT = Path(__file__).parents[2]
_UNITS = {"s": 1, "m": 60, "k": 2**10}


@pytest.fixture(scope="module")
def directives() -> dict[str, list[list[str]]]:
    """The arguments of every directive in the files of the service, by name."""
    return _directives("nginx.conf")


def _directives(file: str) -> dict[str, list[list[str]]]:
    parsed = crossplane.parse(str(_ROOT / "nginx" / file), single=False)
    assert parsed["status"] == "ok", parsed["errors"]
    arguments: dict[str, list[list[str]]] = {}
    for each in parsed["config"]:
        _collect(each["parsed"], arguments)
    return arguments


def _collect(block: list[dict[str, Any]], arguments: dict[str, list[list[str]]]) -> None:
    for each in block:
        arguments.setdefault(each["directive"], []).append(each["args"])
        _collect(each.get("block", []), arguments)


def _seconds(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]


@pytest.fixture(scope="module")
def gunicorn() -> dict[str, Any]:
    return runpy.run_path(str(_ROOT / "web/server/gunicorn.conf.py"))


def test_the_largest_body_is_that_of_the_application(
    directives: dict[str, list[list[str]]],
) -> None:
    largest = max(
        getattr(Settings(), name)
        for name in ("max_request_bytes", "max_archive_bytes")
        if name in Settings.model_fields
    )
    assert directives["client_max_body_size"][0] == [f"{largest // 2**20}m"]


def test_nginx_waits_longer_than_the_application(directives: dict[str, list[list[str]]]) -> None:
    settings = Settings()
    [[read_timeout]] = directives["proxy_read_timeout"]
    [[body_timeout]] = directives["client_body_timeout"]
    [[send_timeout]] = directives["proxy_send_timeout"]
    longest = settings.max_wait_seconds + settings.body_wait_seconds
    assert _seconds(read_timeout) >= longest + 10
    assert _seconds(send_timeout) >= 2 * settings.body_wait_seconds
    assert _seconds(body_timeout) >= 2 * settings.slow_upload_seconds


def test_an_idle_connection_ends_in_http_and_not_in_the_stream(
    directives: dict[str, list[list[str]]],
) -> None:
    [[stream]] = directives["proxy_timeout"]
    for name in ("keepalive_timeout", "client_body_timeout", "proxy_read_timeout"):
        assert _seconds(directives[name][0][0]) < _seconds(stream)


def test_nginx_closes_an_idle_connection_before_web_does(
    directives: dict[str, list[list[str]]], gunicorn: dict[str, Any]
) -> None:
    _, [kept] = directives["keepalive_timeout"]  # Of clients, then of the replicas.
    assert _seconds(kept) < gunicorn["keepalive"]


def test_nginx_connects_to_the_port_of_web(directives: dict[str, list[list[str]]]) -> None:
    [[server, *_]] = [args for args in directives["server"] if args]  # The others are blocks.
    assert server == f"web:{Settings.model_fields['web_port'].default}"


def test_each_console_keeps_its_usual_port(directives: dict[str, list[list[str]]]) -> None:
    consoles = _directives("consoles.conf")
    addresses = {args[1] for args in consoles["set"] if args[0] == "$console"}
    flower = Settings.model_fields["flower_port"].default
    assert addresses == {
        "http://alertmanager:9093",
        "http://grafana:3000",
        "http://kibana:5601",
        "http://prometheus:9090",
        f"http://flower:{flower}",
    }
    assert {args[0] for args in consoles["listen"]} == {a.rpartition(":")[2] for a in addresses}
    assert [args[0] for args in directives["listen"]] == ["8080", "unix:/tmp/nginx.sock"]
    assert directives["proxy_pass"] == [["unix:/tmp/nginx.sock"], ["http://web"], ["http://web"]]


def test_a_console_answers_whether_the_others_run_or_not(tmp_path: Path) -> None:
    """A real nginx with the shipped file. One console runs here, and the others do not."""
    with HTTPServer(("127.0.0.1", 0), _Console) as console:
        Thread(target=console.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        text = (_ROOT / "nginx/consoles.conf").read_text().replace("/tmp/", f"{tmp_path}/")
        text = text.replace("http://flower:5555", f"http://127.0.0.1:{console.server_port}")
        ports = {port: free_port() for port in re.findall(r"listen (\d+)", text)}
        for port, free in ports.items():
            text = text.replace(f"listen {port};", f"listen 127.0.0.1:{free};")
        (tmp_path / "consoles.conf").write_text(text.replace("127.0.0.11", "127.0.0.1:1"))
        shutil.copy(_ROOT / "nginx/console.conf", tmp_path)
        command = [installed("nginx"), "-p", tmp_path, "-c", tmp_path / "consoles.conf"]
        options = f"daemon off; user {getpass.getuser()};"
        server = subprocess.Popen([*command, "-e", "stderr", "-g", options])
        try:
            url = f"http://127.0.0.1:{ports['5555']}/workers"
            wait_until(lambda: _answers(url), problem="nginx does not answer")
            assert httpx.get(url).text == f"/workers of 127.0.0.1:{ports['5555']}"
            assert httpx.get(f"http://127.0.0.1:{ports['3000']}/", timeout=40).status_code == 502
        finally:
            server.terminate()
            server.wait(10)
            console.shutdown()


class _Console(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = f"{self.path} of {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


def _answers(url: str) -> bool:
    try:
        return bool(httpx.get(url))
    except httpx.TransportError:
        return False

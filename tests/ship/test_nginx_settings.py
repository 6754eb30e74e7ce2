"""nginx's limits and times are a little larger than the application's, and its names match."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import crossplane
import pytest

from shared.settings import Settings

_ROOT = Path(__file__).parents[2]
_UNITS = {"s": 1, "m": 60, "k": 2**10}


@pytest.fixture(scope="module")
def directives() -> dict[str, list[list[str]]]:
    """The arguments of every directive in all files, by name."""
    parsed = crossplane.parse(str(_ROOT / "nginx/nginx.conf"), single=False)
    assert parsed["status"] == "ok", parsed["errors"]
    arguments: dict[str, list[list[str]]] = {}
    for file in parsed["config"]:
        _collect(file["parsed"], arguments)
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
    assert _seconds(read_timeout) >= settings.max_wait_seconds + 10
    assert _seconds(body_timeout) >= 2 * settings.slow_upload_seconds


def test_nginx_closes_an_idle_connection_before_web_does(
    directives: dict[str, list[list[str]]], gunicorn: dict[str, Any]
) -> None:
    _, [kept] = directives["keepalive_timeout"]  # Of clients, then of the replicas.
    assert _seconds(kept) < gunicorn["keepalive"]


def test_nginx_connects_to_the_port_of_web(directives: dict[str, list[list[str]]]) -> None:
    [[server, *_]] = [args for args in directives["server"] if args]  # The others are blocks.
    assert server == f"web:{Settings.model_fields['web_port'].default}"


def test_each_console_keeps_its_usual_port(directives: dict[str, list[list[str]]]) -> None:
    consoles = {args[1] for args in directives["set"] if args[0] == "$console"}
    flower = Settings.model_fields["flower_port"].default
    assert consoles == {
        "http://grafana:3000",
        "http://kibana:5601",
        "http://prometheus:9090",
        f"http://flower:{flower}",
    }
    listening = {args[0] for args in directives["listen"]}
    assert listening == {"8080"} | {each.rpartition(":")[2] for each in consoles}

"""Health checks of containers ask the program beside them, also if Docker sets a proxy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.client.scripted_server import Answer, in_order, scripted_server
from tests.ship.images.dockerfile import stages

ROOT = Path(__file__).parents[3]
PROXY = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


def is_healthy(stage: str, check: str, status: int) -> bool:
    """Whether the check of an image accepts the status, which a server on another port answers."""
    dockerfile, _, name = stage.partition(" ")
    [line] = stages(dockerfile)[name].all("HEALTHCHECK")
    [port] = stages(dockerfile)[name].all("EXPOSE")
    program, *arguments = json.loads(line.partition("CMD ")[2])
    assert program == "python" and f":{port}{check}" in arguments[-1]
    with scripted_server(in_order(Answer(status, {}))) as server:
        local = [each.replace(f"http://127.0.0.1:{port}", server.url) for each in arguments]
        ended = subprocess.run([sys.executable, *local], env=PROXY, stderr=subprocess.DEVNULL)
        assert [request.path for request in server.requests] == [check]
    return ended.returncode == 0


@pytest.mark.parametrize(
    ("stage", "check"),
    [("Dockerfile.web final", "/readyz"), ("Dockerfile.worker flower", "/healthcheck")],
)
def test_the_check_of_an_image_uses_no_proxy(stage: str, check: str) -> None:
    assert is_healthy(stage, check, 200)
    assert not is_healthy(stage, check, 503)


def commands() -> Iterator[str]:
    """The health checks of Compose and Kubernetes that call a program of the image."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service in services.values():
        yield " ".join(service.get("healthcheck", {}).get("test", []))
    for manifest in (ROOT / "k8s").rglob("*.yaml"):
        yield from re.findall(r"exec: .*127\.0\.0\.1.*", manifest.read_text())


def test_the_checks_of_other_images_use_no_proxy() -> None:
    local = [each for each in commands() if "http://127.0.0.1" in each]
    assert len(local) > 4
    for each in local:
        assert "env http_proxy= wget" in each or "curl --noproxy '*'" in each, each

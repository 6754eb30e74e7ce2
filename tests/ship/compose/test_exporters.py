"""The exporters log in to Redis with the very arguments of Compose and of Kubernetes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.scrapes import scrape, value
from tests.monitoring.watchers import CELERY_EXPORTER
from tests.ship.compose.file import ROOT, Run, Services
from tests.support.ports import free_port
from tests.support.programs import installed
from tests.support.waiting import wait_until


@pytest.fixture(params=["compose", "kubernetes"])
def arguments(request: pytest.FixtureRequest, services: Services) -> dict[str, list[str]]:
    """The arguments of each exporter."""
    if request.param == "compose":
        celery: list[str] = services["celery-exporter"]["entrypoint"]
        given = {"redis-exporter": services["redis-exporter"]["command"], "celery-exporter": celery}
        return {name: [each.replace("$$", "$") for each in args] for name, args in given.items()}
    redis, celery_container = (
        _container(f"k8s/{path}.yaml")
        for path in ("components/monitoring/redis-exporter", "base/celery-exporter")
    )
    assert redis["image"] == services["redis-exporter"]["image"]
    return {
        "redis-exporter": redis["args"],
        "celery-exporter": celery_container["command"] + celery_container["args"],
    }


def _container(file: str) -> dict[str, Any]:
    objects = yaml.safe_load_all((ROOT / file).read_text())
    [deployment] = [each for each in objects if each["kind"] == "Deployment"]
    container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


@pytest.fixture
def here(shipped_redis: str, secrets: Path, tmp_path: Path) -> dict[str, str]:
    """What stands for the names of containers: the address of Redis and the folder of secrets."""
    address = shipped_redis.rpartition("@")[2].partition("/")[0]
    for name in ("watcher_url", "redis_exporter.json"):
        text = (secrets / name).read_text().replace("redis:6379", address)
        (tmp_path / name).write_text(text)
    return {"redis:6379": address, "/run/secrets": str(tmp_path)}


def _with(replaced: dict[str, str], arguments: list[str]) -> list[str]:
    for old, new in replaced.items():
        arguments = [each.replace(old, new) for each in arguments]
    return arguments


def test_the_redis_exporter_logs_in(
    arguments: dict[str, list[str]], here: dict[str, str], run: Run
) -> None:
    program, port = installed("prometheus-redis-exporter"), free_port()
    options = _with(here, arguments["redis-exporter"])
    with run([program, *options, f"--web.listen-address=127.0.0.1:{port}"]):
        scraped = scrape(port)
    assert value(scraped, "redis_up") == 1
    assert value(scraped, "redis_memory_max_bytes") == 2 * 2**30


def test_the_file_of_passwords_suits_the_version_of_the_image(
    arguments: dict[str, list[str]], secrets: Path
) -> None:
    """From version 1.69 on, redis_exporter adds the user to the address and looks that up."""
    options = dict(each.partition("=")[::2] for each in arguments["redis-exporter"])
    scheme, _, host = options["--redis.addr"].partition("://")
    passwords = json.loads((secrets / "redis_exporter.json").read_text())
    # A name in the address without a password would be taken for the password.
    assert "@" not in host
    expected = (secrets / "watcher_password").read_text()
    assert passwords[f"{scheme}://{options['--redis.user']}@{host}"] == expected


@pytest.mark.skipif(not CELERY_EXPORTER.exists(), reason="see .ci/run")
def test_celery_exporter_logs_in(
    arguments: dict[str, list[str]], here: dict[str, str], run: Run
) -> None:
    port = free_port()
    # This is all that the image's /app/cli.py does.
    program = 'from src.cli import cli; cli(auto_envvar_prefix="CE")'
    image = {"python /app/cli.py": f"{CELERY_EXPORTER} -c '{program}'"}
    command = _with(here | image | {"--port=9808": f"--port={port}"}, arguments["celery-exporter"])
    with run(command):
        wait_until(lambda: value(scrape(port), "celery_queue_length", queue_name="bulk") == 0, 30)


def test_the_image_of_celery_exporter_is_the_version_that_is_tested(services: Services) -> None:
    text = (ROOT / "requirements/celery-exporter.txt").read_text()
    [tested] = re.findall(r"(?m)^prometheus-exporter-celery==(\S+)", text)
    image = f"ghcr.io/danihodovic/celery-exporter:{tested}"
    assert services["celery-exporter"]["image"] == image
    assert _container("k8s/base/celery-exporter.yaml")["image"] == image

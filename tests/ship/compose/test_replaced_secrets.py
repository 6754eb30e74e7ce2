"""Runs the commands of docs/secrets.md, with the Redis of Compose and a fake `docker`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from tests.ship.compose.conftest import running_redis
from tests.ship.compose.file import ROOT, Services

_BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/secrets.md").read_text(), re.S | re.M)

#: It lists two containers of each service. A restarted container is healthy at the second question.
_DOCKER = """#!/bin/sh
case "$*" in
"compose ps -q "*) shift 3; for each; do echo "$each-1 $each-2"; done ;;
"compose exec -T redis sh -c "*)
    printf 'commands to Redis\\n' >>calls
    command=$(echo "$7" | sed "s,/run/secrets,$PWD/secrets,; s,redis-cli,redis-cli -p $PORT,")
    shift 7
    exec sh -c "$command" "$@" ;;
"restart "*) echo "$*" >>calls; rm -f "healthy-$2" ;;
"inspect -f "*)
    echo "$*" | sed 's/.* /inspect /' >>calls
    test -e "healthy-$4" && echo healthy || { echo starting; touch "healthy-$4"; } ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac
"""


class Page:
    """A folder in which the commands of the page run, and the Redis that they change."""

    def __init__(self, folder: Path, port: str) -> None:
        self.secrets = folder / "secrets"
        self._folder = folder
        self._port = port

    def follow(self, *blocks: str) -> list[str]:
        """What was asked of docker."""
        environment = os.environ | {"PATH": f"{self._folder}:{os.environ['PATH']}"}
        environment |= {"PORT": self._port}
        script = "\n".join(blocks)
        subprocess.run(
            ["bash", "-euc", script], cwd=self._folder, env=environment, check=True, timeout=60
        )
        return (self._folder / "calls").read_text().splitlines()

    def logs_in(self, user: str, password: str) -> bool:
        with closing(Redis(port=int(self._port), username=user, password=password)) as client:
            try:
                return bool(client.ping())
            except AuthenticationError:
                return False


@pytest.fixture
def page(services: Services, tmp_path: Path) -> Iterator[Page]:
    for program in ("redis-cli", "openssl", "make"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    folder = tmp_path / "checkout"
    for path in ("secrets/create", "docs/redis-users.acl", "Makefile", "k8s/base/secrets"):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy: Callable[..., object] = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, target)
    for name, text in {"docker": _DOCKER, "sleep": "#!/bin/sh\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    subprocess.run([folder / "secrets/create"], check=True)
    (tmp_path / "redis").mkdir()
    with running_redis(services["redis"], folder / "secrets", tmp_path / "redis") as url:
        yield Page(folder, url.rpartition(":")[2].partition("/")[0])


def test_a_restart_goes_from_one_container_to_the_next(page: Page) -> None:
    calls = page.follow(_BLOCKS[0], "restart web flower")
    order = [name for each in ("web", "flower") for name in (f"{each}-1", f"{each}-2")]
    assert calls == [
        call for name in order for call in (f"restart {name}", *[f"inspect {name}"] * 2)
    ]


def test_a_command_may_have_arguments(page: Page) -> None:
    page.follow(
        _BLOCKS[1], "redis set name 'two words'", "test \"$(redis get name)\" = 'two words'"
    )


@pytest.mark.parametrize(
    "block, user, files, restarted",
    [
        (2, "default", ["redis_url"], ["web", "worker-interactive", "worker-bulk"]),
        (3, "watcher", ["watcher_url", "redis_exporter.json"], ["flower"]),
    ],
)
def test_a_password_of_redis_is_replaced(
    page: Page, block: int, user: str, files: list[str], restarted: list[str]
) -> None:
    name = "redis_password" if user == "default" else "watcher_password"
    old = (page.secrets / name).read_text()
    calls = page.follow(_BLOCKS[0], _BLOCKS[1], _BLOCKS[block])
    new = (page.secrets / name).read_text()
    assert page.logs_in(user, new) and not page.logs_in(user, old) and old != new
    for file in files:
        text = (page.secrets / file).read_text()
        assert new in text and old not in text
    # The new password is valid before the first restart, and the old one until the last.
    assert calls[0] == calls[-1] == "commands to Redis"
    restarts = [each.split()[1] for each in calls if each.startswith("restart")]
    assert restarts == [f"{each}-{k}" for each in restarted for k in (1, 2)]

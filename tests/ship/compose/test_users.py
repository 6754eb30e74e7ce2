"""docker-compose.redis-users.yml gives each program a Redis user of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from tests.monitoring.scrapes import scrape, value
from tests.pipeline.delivery.test_backlog_query import COUNT
from tests.ship.compose.file import OURS, ROOT, Run, Services
from tests.support.ports import free_port
from tests.support.programs import installed


@pytest.fixture
def as_user(redis_with_users: str) -> Callable[[str], Redis]:
    """Gives a client with an address of `make secrets`, at the port of this run."""
    server = redis_with_users.rpartition("@")[2]
    return lambda address: Redis.from_url(address.replace("redis:6379/0", server))


def test_each_program_gets_an_address_with_its_user(
    compose: dict[str, Any], users: dict[str, Any], services: Services, secrets: Path
) -> None:
    files = {name: each["file"] for name, each in (compose["secrets"] | users["secrets"]).items()}
    given = {}
    for name, service in services.items():
        if service["image"].startswith(OURS) and name not in ("locust", "flower"):
            [source] = [
                each["source"]
                for each in service["secrets"]
                if isinstance(each, dict) and each["target"] == "redis_url"
            ]
            text = (secrets.parent / files[source].replace("secrets", secrets.name)).read_text()
            given[name] = text.removeprefix("redis://").partition(":")[0]
    assert given.pop("web") == "web"
    assert {*given.values()} == {"worker"} and len(given) == 5
    # The file changes nothing else that a service gets.
    assert {name: set(each) for name, each in users["services"].items()} == {
        "redis": {"secrets"},
        "redis-exporter": {"command"},
    }


@pytest.mark.parametrize("name", ["web", "worker", "watcher"])
def test_the_address_of_a_program_works_and_allows_no_administration(
    as_user: Callable[[str], Redis], secrets: Path, name: str
) -> None:
    with closing(as_user((secrets / f"{name}_url").read_text())) as client:
        assert client.llen("bulk") == 0
        if name != "watcher":
            client.eval("return redis.call('SET', KEYS[1], 1)", 1, "a")
        for refused in (["FLUSHALL"], ["ACL", "LIST"], ["CONFIG", "SET", "maxmemory", "1"]):
            with pytest.raises(NoPermissionError):
                client.execute_command(*refused)


def test_keda_and_the_operator_have_their_passwords_and_nobody_comes_without(
    as_user: Callable[[str], Redis], secrets: Path
) -> None:
    user, password, default = (
        (secrets / name).read_text() for name in ("keda_user", "keda_password", "redis_password")
    )
    with closing(as_user(f"redis://{user}:{password}@redis:6379/0")) as client:
        assert client.eval(COUNT, 1, "outstanding:bulk") == 0
        with pytest.raises(NoPermissionError):
            client.get("model")
    with closing(as_user(f"redis://:{default}@redis:6379/0")) as client:
        assert client.acl_whoami() == "default"
    with closing(as_user("redis://redis:6379/0")) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_a_new_password_reaches_the_address_and_the_users_of_redis(
    secrets: Path, tmp_path: Path
) -> None:
    """docs/secrets.md says which files to delete."""
    folder = tmp_path / "secrets"
    shutil.copytree(secrets, folder)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    (folder / "web_password").write_text("new&words")
    for name in ("web_url", "users.acl"):
        (folder / name).unlink()
    subprocess.run([ROOT / "secrets/create", folder], check=True)
    after = {path.name: path.read_text() for path in folder.iterdir()}
    changed = {name for name in after if before[name] != after[name]}
    assert changed == {"web_password", "web_url", "users.acl"}
    assert after["web_url"] == "redis://web:new&words@redis:6379/0"
    assert f"user web on #{hashlib.sha256(b'new&words').hexdigest()} " in after["users.acl"]


def test_the_exporter_logs_in_as_its_user(
    users: dict[str, Any],
    services: Services,
    redis_with_users: str,
    secrets: Path,
    run: Run,
    tmp_path: Path,
) -> None:
    program, port = installed("prometheus-redis-exporter"), free_port()
    server = redis_with_users.rpartition("@")[2].partition("/")[0]
    passwords = tmp_path / "redis_exporter.json"
    passwords.write_text((secrets / "exporter.json").read_text().replace("redis:6379", server))
    command = users["services"]["redis-exporter"]["command"]
    usual = services["redis-exporter"]["command"]
    assert [each.replace("=exporter", "=watcher") for each in command] == usual
    options = [
        each.replace("redis:6379", server).replace("/run/secrets", str(tmp_path))
        for each in command
    ]
    with run([program, *options, f"--web.listen-address=127.0.0.1:{port}"]):
        scraped = scrape(port)
    assert value(scraped, "redis_up") == 1
    assert f"redis://exporter@{server}" in json.loads(passwords.read_text())

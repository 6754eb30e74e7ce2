"""No command gives a password to a program as an argument, which every process could read."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]

#: Programs of the images. Each writes down its arguments and its input, and does nothing.
_PROGRAMS = ("redis-server", "redis-cli", "curl", "python", "celery")
_RECORDER = """#!/bin/sh
printf '%s\\n' "$*" >>"$RECORD/arguments"
cat >>"$RECORD/input"
"""


def shell_lines() -> Iterator[tuple[str, str]]:
    """Each command that reads a secret, and the place where it stands."""
    compose = yaml.load(
        (_ROOT / "docker-compose.yml").read_text().replace("$$", "$"), yaml.CSafeLoader
    )
    for file, document in [("docker-compose.yml", compose), *_manifests()]:
        for text in _texts(document):
            if "$(cat /run/secrets/" in text:
                yield file, text
    for line in re.findall(r'(?m)^CMD \["sh", "-ec", "(.*)"\]', _read("Dockerfile.worker")):
        yield "Dockerfile.worker", line


def _manifests() -> Iterator[tuple[str, Any]]:
    for path in sorted((_ROOT / "k8s").rglob("*.yaml")):
        for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            yield str(path.relative_to(_ROOT)), document


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, list | dict):
        for each in document.values() if isinstance(document, dict) else document:
            yield from _texts(each)


def _read(name: str) -> str:
    return (_ROOT / name).read_text()


LINES = list(dict.fromkeys(shell_lines()))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    subprocess.run([_ROOT / "secrets/create", folder], check=True)
    (folder / "users.acl").rename(folder / "not-mounted.acl")
    return folder


def run(line: str, secrets: Path, folder: Path) -> tuple[str, str]:
    """What the programs of a shell line got: their arguments and their input."""
    for program in _PROGRAMS:
        (folder / program).write_text(_RECORDER)
        (folder / program).chmod(0o755)
    for name in ("arguments", "input"):
        (folder / name).touch()
    line = line.replace("/run/secrets", str(secrets)).replace("sh /logging", f"sh {_ROOT}/logging")
    subprocess.run(
        ["sh", "-ec", line],
        env={"PATH": f"{folder}:/usr/bin:/bin", "RECORD": str(folder)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # programs at fixed paths of an image are not here
        check=False,
        timeout=10,
    )
    return (folder / "arguments").read_text(), (folder / "input").read_text()


@pytest.mark.parametrize(("file", "line"), LINES, ids=[file for file, _ in LINES])
def test_no_argument_has_a_password(file: str, line: str, secrets: Path, tmp_path: Path) -> None:
    arguments, _ = run(line, secrets, tmp_path)
    assert arguments or "/usr/local/bin/" in line
    for secret in {*re.findall(r"/run/secrets/([\w.]+)", line)} - {"users.acl"}:
        assert (secrets / secret).read_text() not in arguments, f"{file}: {secret}"
        # The password of an address, or of `user:password`.
        password = re.split(r"[:@]", (secrets / secret).read_text())
        assert not [each for each in password if len(each) > 30 and each in arguments]


def test_redis_gets_the_same_passwords_and_rights_everywhere(secrets: Path, tmp_path: Path) -> None:
    inputs = set()
    for number, line in enumerate(line for _, line in LINES if "redis-server" in line):
        folder = tmp_path / str(number)
        folder.mkdir()
        inputs.add(run(line, secrets, folder)[1])
    [given] = inputs
    password, watcher, _ = given.split("\n")
    assert password == f'requirepass "{(secrets / "redis_password").read_text()}"'
    assert watcher.startswith(f'user watcher on ">{(secrets / "watcher_password").read_text()}" ')


def test_redis_reads_its_users_from_a_file_that_is_mounted(secrets: Path, tmp_path: Path) -> None:
    users = Path(shutil.copy(secrets / "not-mounted.acl", secrets / "users.acl"))
    try:
        for number, line in enumerate(line for _, line in LINES if "redis-server" in line):
            folder = tmp_path / str(number)
            folder.mkdir()
            assert run(line, secrets, folder)[1] == f"aclfile {users}\n"
    finally:
        users.unlink()


class Elasticsearch(BaseHTTPRequestHandler):
    asked: list[tuple[str, str, Any]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        user = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        self.asked.append((self.path, user, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_elasticsearch_gets_the_password_of_kibana(secrets: Path) -> None:
    assert shutil.which("curl"), "curl is not installed"
    lines = [line for _, line in LINES if "kibana_system" in line]
    with HTTPServer(("127.0.0.1", 0), Elasticsearch) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            for line in lines:
                line = line.replace(
                    "http://elasticsearch:9200", f"http://127.0.0.1:{server.server_port}"
                )
                line = line.partition("exec sh /logging")[0].replace("/run/secrets", str(secrets))
                subprocess.run(["sh", "-ec", line], check=True, timeout=10)
        finally:
            server.shutdown()
            thread.join()
    password = (secrets / "kibana_password").read_text()
    user = f"elastic:{(secrets / 'elastic_password').read_text()}"
    asked = ("/_security/user/kibana_system/_password", user, {"password": password})
    assert len(lines) == 2 and Elasticsearch.asked == [asked] * 2

"""Clients that are generated from the OpenAPI document work with the service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import machine
from tests.support.local_service import LocalService

pytestmark = pytest.mark.long

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]


@pytest.fixture
def document(service: LocalService, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(httpx.get(f"{service.base_url}/openapi.json").text)
    return path


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """The output of a program that must succeed."""
    # The generator calls ruff, which is installed beside it.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def assert_right(printed: str, label: str) -> None:
    answers: Mapping[str, Any] = json.loads(printed.splitlines()[-1])
    assert answers == {
        "label": label,
        "named": label,
        "state": "completed",
        "labels": [label, label],
        "newest": True,
    }


def label_of(service: LocalService, picture: Path) -> str:
    answer = httpx.post(
        f"{service.base_url}/api/v1/classify", content=picture.read_bytes(), timeout=30
    )
    label: str = answer.json()["predictions"][0]["class_name"]
    return label


def test_the_python_client_is_generated_without_warnings_and_works(
    service: LocalService, document: Path, pictures: list[Path], tmp_path: Path
) -> None:
    options = ["--path", document, "--output-path", tmp_path / "client", "--fail-on-warning"]
    printed = run("openapi-python-client", "generate", *options, folder=tmp_path)
    assert "arning" not in printed, printed
    shutil.copy(_HERE / "use.py", tmp_path)
    run(
        *(sys.executable, "-m", "mypy", "--strict", "--python-executable", sys.executable),
        *("--cache-dir", tmp_path / "mypy", "use.py"),
        folder=tmp_path,
        MYPYPATH=str(tmp_path / "client"),
    )
    printed = run(
        *(sys.executable, "use.py", service.base_url, pictures[0]),
        folder=tmp_path,
        PYTHONPATH=str(tmp_path / "client"),
    )
    assert_right(printed, label_of(service, pictures[0]))


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """openapi-typescript and typescript, fetched once from the npm registry."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing("node and npm are not installed")
    folder = _ROOT / ".cache" / "openapi-typescript"
    lock = "package-lock.json"
    if not (folder / lock).exists() or (folder / lock).read_text() != (_HERE / lock).read_text():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(_HERE / "package.json", folder)
        shutil.copy(_HERE / lock, folder / "lock")
        (folder / "lock").rename(folder / lock)
        command = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
        try:
            subprocess.run(
                command, cwd=folder, check=True, timeout=120, env=machine.MACHINE, stdout=sys.stderr
            )
        except (OSError, subprocess.SubprocessError):
            shutil.rmtree(folder)
            missing("openapi-typescript cannot be fetched; `npm ci` in this folder does it")
    return folder / "node_modules"


def missing(what: str) -> None:
    """Skip the test; in continuous integration, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and this is continuous integration")
    pytest.skip(what)


def test_the_typescript_types_are_generated_without_warnings_and_fit(
    service: LocalService,
    document: Path,
    pictures: list[Path],
    tmp_path: Path,
    node_modules: Path,
) -> None:
    programs = node_modules / ".bin"
    printed = run(programs / "openapi-typescript", document, "-o", "api.d.ts", folder=tmp_path)
    assert "warn" not in printed.lower(), printed
    shutil.copy(_HERE / "use.ts", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    options = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022"]
    options += ["--module", "nodenext", "--lib", "es2022,dom,dom.iterable"]
    (tmp_path / "node.d.ts").write_text(_NODE)
    run(programs / "tsc", *options, "use.ts", "node.d.ts", folder=tmp_path)
    printed = run("node", "use.js", service.base_url, pictures[0], folder=tmp_path)
    assert_right(printed, label_of(service, pictures[0]))


#: The two things of Node that the program uses, instead of the types of all of Node.
_NODE = """
declare const process: { argv: string[] };
declare module "node:fs/promises" { export function readFile(path: string): Promise<BlobPart>; }
"""

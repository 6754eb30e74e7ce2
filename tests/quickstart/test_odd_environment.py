"""The quick start works in a folder with spaces and in an environment that is odd in every way.

One start serves all cases, because each start takes seconds. tests/quickstart/test_ready.py and
tests/client/api/test_http_client.py try the variables one by one.
"""

from __future__ import annotations

import errno
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import synchronize
from pathlib import Path

import pytest

from client.cli.demo import sample_pictures
from quickstart.__main__ import run
from quickstart.addresses import local_client
from shared.errors import ClassifierError
from shared.settings import Settings
from tests.quickstart.terminal import ROOT, await_no_process
from tests.quickstart.test_ready import ODD
from tests.support.ports import free_port

pytestmark = pytest.mark.long

PACKAGES = ("client", "quickstart", "shared", "web", "workers")


def ipv6_is_missing() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return True
    return False


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a b"
    for package in PACKAGES:
        without = shutil.ignore_patterns("__pycache__", "build")
        shutil.copytree(ROOT / package, folder / package, ignore=without)
    (folder / "tmp").mkdir()
    return folder


@contextmanager
def quick_start(clone: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A quick start with a closed standard input, and with files that only its user may read."""
    with (clone / "output").open("wb") as output:
        launcher = subprocess.Popen(
            ["sh", "-c", 'umask 077; exec "$0" -m quickstart <&-', sys.executable],
            cwd=clone,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield launcher
    finally:
        launcher.kill()
        launcher.wait()
        await_no_process(environment)


@pytest.mark.skipif(ipv6_is_missing(), reason="this machine has no IPv6")
def test_odd(clone: Path, model_environment: dict[str, str], cats_label: str) -> None:
    environment = ODD | {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C",
        "TMPDIR": str(clone / "tmp"),
        "HOME": "/nonexistent",
        "HOST": "[::1]",
        "DATA_DIR": str(clone / "data"),
        "WEB_PORT": str(free_port()),
        "FLOWER_PORT": str(free_port()),
        "WEB_PROCESSES": "1",
        "WORKER_PROCESSES": "1",
        "API_KEYS_FILE": "",
    }
    environment |= {name: model_environment[name] for name in ("MODEL_WEIGHTS", "MODELS_DIR")}
    output = clone / "output"
    with quick_start(clone, environment) as launcher:
        give_up = time.monotonic() + 60
        while "Ctrl-C stops everything." not in output.read_text():
            assert launcher.poll() is None and time.monotonic() < give_up, output.read_text()
            time.sleep(0.05)
        url = f"http://[::1]:{environment['WEB_PORT']}"
        assert f"\n  {url}\n" in output.read_text()
        with local_client(timeout=60) as http:
            files = {"file": sample_pictures()[0].read_bytes()}
            answer = http.post(f"{url}/api/v1/classify", files=files)
            assert answer.json()["predictions"][0]["class_name"] == cats_label
            flower = f"http://[::1]:{environment['FLOWER_PORT']}"
            assert http.get(f"{flower}/healthcheck").is_success
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=90) == 0
    shown = output.read_text()
    assert shown.splitlines()[-1] == "Stopped."
    assert "Traceback" not in shown and " | " not in shown, shown
    assert not [path for path in (clone / "data").rglob("*") if path.stat().st_mode & 0o077]


def test_a_machine_without_shared_memory_is_an_error_that_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A chroot often has /dev without /dev/shm, and there no worker can start."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(synchronize.SemLock, "__init__", refuse)
    ports = {"web_port": free_port(), "flower_port": free_port()}
    with pytest.raises(ClassifierError, match="Permission denied.*/dev/shm"):
        run(Settings(data_dir=tmp_path / "data", **ports))
    assert not (tmp_path / "data").exists()


def test_the_process_of_a_test_inherits_no_ignored_signal() -> None:
    """`nohup make test &` ignores SIGHUP and SIGINT, and so would the programs of the tests."""
    program = "assert not [s for s in (1, 2) if signal.getsignal(s) is signal.SIG_IGN]"
    ignoring = f'trap "" HUP INT; exec "$0" -c "import signal, tests.conftest; {program}"'
    assert subprocess.run(["sh", "-c", ignoring, sys.executable], cwd=ROOT).returncode == 0

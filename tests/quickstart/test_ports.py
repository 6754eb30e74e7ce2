"""A port that another program has is an error before anything starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port
from quickstart import redis_server
from quickstart.ports import check_ports
from shared.errors import ClassifierError
from shared.settings import Settings


def settings(**ports: int) -> Settings:
    free = {name: free_port() for name in ("web_port", "flower_port")}
    return Settings(**free | ports)  # type: ignore[arg-type]


def test_free_ports_pass() -> None:
    check_ports(settings())


@pytest.mark.parametrize("name", ["web_port", "flower_port"])
def test_the_error_has_the_port_and_its_setting(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ClassifierError, match=f"port {port} is taken.*{name.upper()}"):
            check_ports(settings(**{name: port}))


@pytest.mark.parametrize("offset", [0, 1])
def test_the_metrics_of_the_workers_need_two_ports(offset: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        # A program beside this one may have the other of the two ports.
        either = f"port ({port}|{port - 1}|{port + 1}) is taken.*METRICS_PORT"
        with pytest.raises(ClassifierError, match=either):
            check_ports(settings(metrics_port=port - offset))


def test_a_port_of_an_ipv6_address_is_checked_too() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        check_ports(settings(web_port=port))  # the same number of another address
        with pytest.raises(ClassifierError, match=f"port {port} is taken.*WEB_PORT"):
            check_ports(Settings(host="::1", web_port=port, flower_port=free_port()))


def test_one_port_for_two_programs_is_an_error() -> None:
    port = free_port()
    with pytest.raises(ClassifierError, match=f"port {port} is taken.*FLOWER_PORT"):
        check_ports(settings(web_port=port, flower_port=port))


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(ClassifierError, match="cannot listen on 192.0.2.1.*HOST"):
        check_ports(Settings(host="192.0.2.1", web_port=free_port()))


def launch(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "quickstart"],
        env=os.environ | {"DATA_DIR": str(tmp_path / "data")} | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_launcher_reports_it_in_one_line_and_starts_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = launch(tmp_path, WEB_PORT=str(other.getsockname()[1]))
    assert ended.returncode == 1
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert line.startswith("quickstart: port ") and "WEB_PORT" in line
    assert not (tmp_path / "data").exists()


def test_a_malformed_setting_is_named_in_one_line(tmp_path: Path) -> None:
    ended = launch(tmp_path, WEB_PORT="eighty")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("quickstart: WEB_PORT: ")


@pytest.mark.parametrize("name", ["DATA_DIR", "MODELS_DIR"])
def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("no folder")
    ports = {each: str(free_port()) for each in ("WEB_PORT", "FLOWER_PORT")}
    ended = launch(tmp_path, **ports, **{name: str(tmp_path / "file" / "below")})
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("quickstart: cannot write to the folder ") and f"set {name} to" in line


def test_a_second_quick_start_with_the_same_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ports = {each: str(free_port()) for each in ("WEB_PORT", "FLOWER_PORT")}
    with redis_server.locked(tmp_path / "data"):
        ended = launch(tmp_path, **ports, REDIS_URL="redis://127.0.0.1:1/0")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "data is in use by another quick start: stop it, or set DATA_DIR to" in line


def test_closed_standard_files_are_no_fault(tmp_path: Path) -> None:
    """A launcher of services may close them. A port that is taken ends the start here."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = {"WEB_PORT": str(other.getsockname()[1]), "DATA_DIR": str(tmp_path)}
        command = '"$0" -m quickstart <&- >&- 2>&-'
        ended = subprocess.run(
            ["sh", "-c", command, sys.executable],
            env=os.environ | port,
            cwd=Path(__file__).parents[2],
            timeout=30,
        )
    assert ended.returncode == 1

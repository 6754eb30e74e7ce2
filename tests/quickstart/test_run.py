"""One command starts everything. Every stop loses no work and leaves no process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from client.cli.demo import sample_pictures
from tests.support.ports import free_port
from tests.quickstart.terminal import ROOT, Terminal, await_no_process, processes, running


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, weights: str) -> dict[str, str]:
    # The environment of the tests may name another Redis.
    inherited = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    return inherited | {
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "MODEL_WEIGHTS": weights,
        "WEB_PORT": str(free_port()),
        "FLOWER_PORT": str(free_port()),
        "WEB_PROCESSES": "1",
        "WORKER_PROCESSES": "1",
        # A message that a worker takes as it is stopped may be lost. Its part is sent again then.
        "PART_DEADLINE_SECONDS": "20",
        "BATCH_TIME_LIMIT_SECONDS": "15",
    }


@pytest.fixture(scope="module")
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    """A quick start for all tests that only ask. The last test of the module stops it."""
    opened = Terminal(environment)
    try:
        opened.wait_for("Ctrl-C stops everything.")
        yield opened
    finally:
        opened.close()


@pytest.fixture
def cat() -> bytes:
    return sample_pictures()[0].read_bytes()


@pytest.mark.long
def test_ctrl_c_during_the_export_leaves_no_process(
    environment: dict[str, str], tmp_path: Path
) -> None:
    opened = Terminal(environment | {"DATA_DIR": str(tmp_path)})
    try:
        opened.wait_for("a worker is loading the model")
        opened.press_ctrl_c()
        assert opened.await_end() == 0
        assert processes(opened.environment) == {}
    finally:
        opened.close()


def test_missing_weights_stop_the_start_with_one_sentence(
    environment: dict[str, str], tmp_path: Path
) -> None:
    missing = tmp_path / "missing.pth"
    opened = Terminal(environment | {"MODEL_WEIGHTS": str(missing)})
    try:
        assert opened.await_end() == 1
        [line] = opened.text.splitlines()
        assert f"MODEL_WEIGHTS={missing}" in line and line.endswith("No such file or directory")
    finally:
        opened.close()


def test_it_classifies_a_picture(terminal: Terminal, cat: bytes, cats_label: str) -> None:
    answer = httpx.post(f"{terminal.url}/api/v1/classify", files={"file": cat}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["class_name"] == cats_label


@pytest.mark.parametrize("path", ["", "/docs", "/redoc"])
def test_it_serves_the_page_and_the_documents(terminal: Terminal, path: str) -> None:
    assert httpx.get(f"{terminal.url}{path}", follow_redirects=True).status_code == 200


def test_flower_shows_the_tasks(terminal: Terminal) -> None:
    flower = f"http://127.0.0.1:{terminal.environment['FLOWER_PORT']}"
    await_true(lambda: 'type="task-succeeded"' in httpx.get(f"{flower}/metrics").text)


def test_each_program_runs_and_has_said_so(terminal: Terminal) -> None:
    log = (Path(terminal.environment["DATA_DIR"]) / "quickstart.log").read_text()
    commands = " ".join(processes(terminal.environment).values())
    for program in ("redis-server", "gunicorn", "interactive@", "bulk@", "flower"):
        assert program in commands
    for name in ("web", "interactive", "bulk", "flower", "ready"):
        assert f"{name} started, process " in log


def test_the_terminal_is_calm(terminal: Terminal, cat: bytes) -> None:
    """The way from the start to the first requests fits on a small screen."""
    assert httpx.post(f"{terminal.url}/api/v1/classify", files={"file": cat}).is_success
    assert httpx.get(f"{terminal.url}/nothing").status_code == 404
    log = Path(terminal.environment["DATA_DIR"]) / "quickstart.log"
    await_true(lambda: "url.path=/nothing" in log.read_text())
    lines = terminal.text.splitlines()
    assert lines[0].startswith("Starting web, ") and f"The log is {log}" in lines[0]
    assert f"  {terminal.url}" in lines  # on a line of its own
    assert not [line for line in lines if " | " in line]
    assert len(lines) < 25


def test_the_demo_uses_the_service_that_runs(terminal: Terminal) -> None:
    before = processes(terminal.environment)
    assert_table(run_demo(terminal.environment))
    assert before.keys() <= processes(terminal.environment).keys()
    assert not (Path(terminal.environment["DATA_DIR"]) / "demo.log").exists()


@pytest.mark.long
def test_ctrl_c_lets_a_client_that_waits_have_its_answer(
    environment: dict[str, str], tmp_path: Path, cat: bytes
) -> None:
    ports = {"WEB_PORT": str(free_port()), "FLOWER_PORT": str(free_port())}
    folders = {"DATA_DIR": str(tmp_path), "MODELS_DIR": f"{environment['DATA_DIR']}/models"}
    opened = Terminal(environment | ports | folders)
    try:
        opened.wait_for("Ctrl-C stops everything.")
        files = [("files", (f"{n}.png", cat + n.to_bytes(2))) for n in range(96)]
        accepted = httpx.post(f"{opened.url}/jobs", files=files, timeout=60)
        assert accepted.status_code == 202, accepted.text
        port = int(ports["WEB_PORT"])
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as waiting:
            waiting.request("GET", "/livez")  # web reads this connection now
            waiting.getresponse().read()
            waiting.request("GET", f"/jobs/{accepted.json()['id']}?wait=50")
            opened.press_ctrl_c()
            answer = waiting.getresponse()
            ended = json.loads(answer.read())
        assert (answer.status, ended["state"]) == (200, "completed")
        assert ended["counts"]["succeeded"] == 96
        assert opened.await_end() == 0
        last = opened.text.rpartition("Ctrl-C stops everything.")[2].split("\r\n")
        assert last[-3].startswith("^CStopping after the last answers.") and last[-2] == "Stopped."
        assert processes(opened.environment) == {}
    finally:
        opened.close()


@pytest.mark.long
def test_the_next_start_finishes_what_ctrl_c_interrupted(terminal: Terminal, cat: bytes) -> None:
    # Bytes after the end of a PNG are ignored. They make each file new to the result cache.
    files = [("files", (f"{n}.png", cat + n.to_bytes(2))) for n in range(96)]
    job = httpx.post(f"{terminal.url}/jobs", files=files, timeout=60).json()
    terminal.press_ctrl_c()
    assert terminal.await_end() == 0
    assert processes(terminal.environment) == {}
    assert "Traceback" not in terminal.text

    again = Terminal(terminal.environment)
    try:
        again.wait_for("Ctrl-C stops everything.")

        def succeeded() -> int:
            read = httpx.get(f"{again.url}/jobs/{job['id']}?wait=10", timeout=60)
            number: int = read.json()["counts"]["succeeded"]
            return number

        await_true(lambda: succeeded() == 96, seconds=90)
        again.launcher.kill()
        await_no_process(again.environment)
    finally:
        again.close()


@pytest.mark.long
def test_the_next_start_goes_on_at_once_after_a_kill(
    environment: dict[str, str], tmp_path: Path, cat: bytes
) -> None:
    """It need not wait for the deadlines of what the killed workers had."""
    variables = environment | {
        "DATA_DIR": str(tmp_path),
        "MODELS_DIR": f"{environment['DATA_DIR']}/models",
        "PART_DEADLINE_SECONDS": "300",
    }
    opened = Terminal(variables)
    try:
        opened.wait_for("Ctrl-C stops everything.")
        files = [("files", (f"{n}.png", cat + n.to_bytes(2))) for n in range(192)]
        job = httpx.post(f"{opened.url}/jobs", files=files, timeout=60).json()
        opened.launcher.kill()
    finally:
        opened.close()
    with running(variables) as again:
        read = lambda: httpx.get(f"{again.url}/jobs/{job['id']}?wait=10", timeout=60)  # noqa: E731
        await_true(lambda: read().json()["counts"]["succeeded"] == 192, seconds=60)


@pytest.mark.long
def test_the_demo_starts_and_stops_a_service_where_none_runs(environment: dict[str, str]) -> None:
    assert_table(run_demo(environment))
    assert processes(environment) == {}
    assert "Ready: " in (Path(environment["DATA_DIR"]) / "demo.log").read_text()


def run_demo(environment: dict[str, str]) -> str:
    demo = subprocess.run(
        [sys.executable, "-m", "quickstart.demo"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    return demo.stdout


def assert_table(shown: str) -> None:
    for picture in sample_pictures():
        assert picture.name in shown
    assert "%" in shown


def await_true(condition: Callable[[], bool], seconds: float = 10) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)

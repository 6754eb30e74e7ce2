"""Programs run side by side until one ends or a signal stops them, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.quickstart.launcher import IMPORTS, LAUNCHER, PROGRAMS, ROOT, Launcher

pytestmark = pytest.mark.long


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launcher]]:
    for name, body in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(IMPORTS + textwrap.dedent(body))
    launched: list[subprocess.Popen[str]] = []

    def start(
        *names: str, grace_seconds: float = 30, answer_seconds: float = 0, redis: bool = False
    ) -> Launcher:
        options = [str(grace_seconds), str(answer_seconds), "redis" if redis else ""]
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *options, *names],
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        launched.append(process)
        return Launcher(process)

    yield start
    for process in launched:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def is_running(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(*pids: int) -> None:
    give_up = time.monotonic() + 10
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < give_up, f"these still run: {left}"
        time.sleep(0.02)


def test_each_line_has_its_program_in_front(launch: Callable[..., Launcher]) -> None:
    group = launch("idle", "not_text", "long_line")
    group.wait_until_up("idle", "not_text", "long_line")
    group.process.send_signal(signal.SIGTERM)
    group.end()
    assert "idle       | up" in group.lines
    assert "not_text   | caf\N{REPLACEMENT CHARACTER}" in group.lines
    [long] = [line for line in group.lines if len(line) > 1000]
    assert long == f"{'long_line':10} | {'x' * 200_000}"


def test_programs_share_an_environment_and_have_no_keyboard(
    launch: Callable[..., Launcher],
) -> None:
    group = launch("asking")
    assert group.wait_for("| up").endswith("'' yes")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_every_program_finish(
    launch: Callable[..., Launcher], signum: signal.Signals
) -> None:
    group = launch("polite", "idle")
    pids = group.wait_until_up("polite", "idle")
    group.process.send_signal(signum)
    assert group.end() == "None"
    assert "polite     | finished" in group.lines
    wait_until_gone(*pids.values())


def test_the_others_work_until_the_clients_have_their_answers(
    launch: Callable[..., Launcher],
) -> None:
    group = launch("serving", "polite", answer_seconds=60)
    group.wait_until_up("serving", "polite")
    group.process.send_signal(signal.SIGINT)
    assert group.end() == "None"
    said = [line.partition("| ")[2] for line in group.lines]
    last = [each for each in said if each in ("no new clients", "answered", "finished")]
    assert last == ["no new clients", "answered", "finished"]


def test_answers_that_take_too_long_are_given_up(launch: Callable[..., Launcher]) -> None:
    group = launch("stubborn", "polite", answer_seconds=0.5, grace_seconds=1)
    pids = group.wait_until_up("stubborn", "polite")
    group.process.send_signal(signal.SIGINT)
    assert group.end() == "None"
    asked = [line for line in group.lines if line == "stubborn   | not yet"]
    assert len(asked) == 2  # once before the others, and once with them
    assert "polite     | finished" in group.lines and "quickstart | killing stubborn" in group.lines
    wait_until_gone(*pids.values())


def test_a_second_ctrl_c_does_not_wait_for_answers(launch: Callable[..., Launcher]) -> None:
    group = launch("stubborn", "idle", answer_seconds=3600, grace_seconds=3600)
    pids = group.wait_until_up("stubborn", "idle")
    group.process.send_signal(signal.SIGINT)
    group.wait_for("stubborn ", "not yet")
    time.sleep(1.2)
    group.process.send_signal(signal.SIGINT)
    assert group.end() == "None"
    assert "quickstart | killing stubborn, idle" in group.lines
    wait_until_gone(*pids.values())


def test_the_end_of_a_program_stops_the_one_with_clients_at_once(
    launch: Callable[..., Launcher],
) -> None:
    """Without its worker it has no answers to give."""
    group = launch("stubborn", "failing", answer_seconds=3600, grace_seconds=0.5)
    assert group.end() == "failing ended with status 3"


def test_a_lost_terminal_is_no_second_request(launch: Callable[..., Launcher]) -> None:
    group = launch("stubborn", "polite", answer_seconds=3, grace_seconds=1)
    pids = group.wait_until_up("stubborn", "polite")
    group.process.send_signal(signal.SIGHUP)
    group.wait_for("stubborn ", "not yet")
    assert group.process.stdout
    group.process.stdout.close()
    time.sleep(1.2)
    os.kill(pids["stubborn"], signal.SIGTERM)  # It answers with a line, which nobody reads.
    time.sleep(0.3)
    assert is_running(pids["stubborn"]) and is_running(pids["polite"])
    assert group.process.wait(10) == 0
    wait_until_gone(*pids.values())


def test_the_signal_goes_to_a_program_and_not_to_its_children(
    launch: Callable[..., Launcher],
) -> None:
    """A worker waits for the micro-batch that a pool process runs."""
    group = launch("parent", "stubborn")
    parent = group.wait_until_up("stubborn", "parent")["parent"]
    [child] = [int(line.split()[-1]) for line in group.lines if "child" in line]
    group.process.send_signal(signal.SIGTERM)
    group.wait_for("stubborn ", "not yet")
    wait_until_gone(parent)
    assert is_running(child)
    os.kill(child, signal.SIGKILL)


def test_the_end_of_one_program_stops_the_others_and_is_named(
    launch: Callable[..., Launcher],
) -> None:
    group = launch("polite", "failing")
    assert group.end() == "failing ended with status 3"
    assert any("failing ended with status 3; stopping everything" in line for line in group.lines)
    assert [line for line in group.lines if line.startswith("failing")] == [
        "failing    | up no model"
    ]
    assert sum("started" in line for line in group.lines) == 2


def test_a_killed_program_is_named_with_its_signal(launch: Callable[..., Launcher]) -> None:
    group = launch("idle", "polite")
    pids = group.wait_until_up("idle", "polite")
    os.kill(pids["idle"], signal.SIGKILL)
    assert group.end() == "idle was killed by SIGKILL"
    assert "polite     | finished" in group.lines


def test_the_end_of_redis_stops_every_program_and_is_named(
    launch: Callable[..., Launcher],
) -> None:
    group = launch("polite", redis=True)
    redis = int(group.wait_for("redis").split()[-1])
    group.wait_until_up("polite")
    os.kill(redis, signal.SIGKILL)
    assert group.end() == "redis was killed by SIGKILL"
    assert "polite     | finished" in group.lines


def test_redis_is_not_stopped_with_the_programs(launch: Callable[..., Launcher]) -> None:
    group = launch("idle", redis=True)
    redis = int(group.wait_for("redis").split()[-1])
    group.wait_until_up("idle")
    group.process.send_signal(signal.SIGTERM)
    assert group.end() == "None"
    assert is_running(redis)
    os.kill(redis, signal.SIGKILL)


def test_a_program_that_does_not_stop_in_time_is_killed(launch: Callable[..., Launcher]) -> None:
    group = launch("stubborn", "polite", grace_seconds=3)
    pids = group.wait_until_up("stubborn", "polite")
    group.process.send_signal(signal.SIGTERM)
    assert group.end() == "None"
    assert "polite     | finished" in group.lines and "quickstart | killing stubborn" in group.lines
    wait_until_gone(*pids.values())


def test_a_second_ctrl_c_kills_at_once(launch: Callable[..., Launcher]) -> None:
    group = launch("stubborn", grace_seconds=3600)
    group.wait_until_up("stubborn")
    group.process.send_signal(signal.SIGINT)
    group.process.send_signal(signal.SIGINT)  # Two at once are one request.
    group.wait_for("stubborn ", "not yet")
    time.sleep(1.2)
    group.process.send_signal(signal.SIGINT)
    assert group.end() == "None"
    assert group.lines.count("quickstart | killing stubborn") == 1


def test_what_a_program_left_behind_is_killed(launch: Callable[..., Launcher]) -> None:
    group = launch("parent", "idle")
    pids = group.wait_until_up("parent", "idle")
    [child] = [int(line.split()[-1]) for line in group.lines if "child" in line]
    group.process.send_signal(signal.SIGTERM)
    group.end()
    wait_until_gone(child, *pids.values())


def test_a_killed_launcher_takes_its_programs_with_it(launch: Callable[..., Launcher]) -> None:
    group = launch("idle", "stubborn")
    pids = group.wait_until_up("idle", "stubborn")
    group.process.kill()
    wait_until_gone(*pids.values())


def test_an_output_that_nobody_reads_stops_everything(launch: Callable[..., Launcher]) -> None:
    group = launch("stubborn", "polite", grace_seconds=1)
    pids = group.wait_until_up("stubborn", "polite")
    assert group.process.stdout
    group.process.stdout.close()
    os.kill(pids["stubborn"], signal.SIGTERM)  # It answers with a line.
    assert group.process.wait(10) == 0
    wait_until_gone(*pids.values())


def test_a_hang_up_is_ignored_under_nohup(launch: Callable[..., Launcher]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        group = launch("polite")
    finally:
        signal.signal(signal.SIGHUP, before)
    group.wait_until_up("polite")
    group.process.send_signal(signal.SIGHUP)
    group.process.send_signal(signal.SIGTERM)
    assert group.end() == "None"

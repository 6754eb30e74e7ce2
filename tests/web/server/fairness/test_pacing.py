"""Bodies are read in small steps: in rotation, beside everything else, pictures before folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent
import pytest
from gevent import socket

from web.server.fairness import pacing
from tests.conftest import Clock
from web.server.fairness.pacing import (
    Pace,
    Pacing,
    Queue,
    let_others_run,
    mark_single_picture,
    note_client,
)


def run(*work: Callable[[], object]) -> None:
    gevent.joinall([gevent.spawn(each) for each in work], timeout=10, raise_error=True)


def body(queue: Queue, log: list[str], name: str, steps: int) -> Callable[[], None]:
    """A body whose client sends as fast as it is read."""

    def read() -> None:
        for _ in range(steps):
            queue.wait()
            log.append(name)

    return read


QUEUES = pytest.mark.parametrize("mark", [True, False], ids=["pictures", "folders"])


def queue_of(pacing: Pacing, *, mark: bool) -> Queue:
    environ: dict[str, Any] = {}
    if mark:
        mark_single_picture(environ)
    return pacing.queue(environ)


@QUEUES
def test_bodies_of_one_kind_are_read_in_rotation(mark: bool) -> None:
    queue, log = queue_of(Pacing(), mark=mark), list[str]()
    run(*(body(queue, log, name, 4) for name in "abc"))
    assert "".join(log) == "abc" * 4


@QUEUES
def test_clients_take_their_steps_in_rotation_however_many_bodies_they_send(mark: bool) -> None:
    queue, log = queue_of(Pacing(), mark=mark), list[str]()

    def of(client: str) -> Callable[[], None]:
        def read() -> None:
            note_client(client)
            body(queue, log, client, 6)()

        return read

    run(*[of("many") for _ in range(50)], of("one"))
    last = len(log) - log[::-1].index("one")
    assert log[:last].count("many") <= 8  # if bodies went in rotation, it would be 250


def test_a_body_that_returns_at_once_passes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few that return in the same moment would otherwise keep all others waiting."""
    monkeypatch.setattr(pacing, "let_others_run", lambda: None)
    queue, log = Queue(), list[str]()
    run(body(queue, log, "a", 3), body(queue, log, "b", 3))
    assert "".join(log) == "ababab"


def test_a_body_that_ends_while_it_waits_leaves_its_turn_to_others() -> None:
    queue, log = Queue(pause_seconds=0.01), list[str]()
    bodies = [gevent.spawn(body(queue, log, name, 1)) for name in "abc"]
    gevent.sleep(0.005)  # the first has its turn
    bodies[1].kill()
    gevent.joinall(bodies, timeout=10, raise_error=True)
    run(body(queue, log, "d", 1))
    assert "".join(log) == "acd"


def steps_before_news(wait: Callable[[], object]) -> int:
    """How many steps pass from the moment when bytes arrive until they are handled."""
    near, far = socket.socketpair()
    log: list[str] = []

    def upload() -> None:
        for step in range(20):
            if step == 5:
                near.sendall(b"x")
            wait()
            log.append("step")

    def other() -> None:
        far.recv(1)
        log.append("news")

    with near, far:
        run(other, upload)
    return log.index("news") - 5


@QUEUES
def test_between_two_steps_everything_that_has_arrived_is_handled(mark: bool) -> None:
    assert steps_before_news(queue_of(Pacing(), mark=mark).wait) <= 1


def test_others_run_where_a_pause_of_zero_would_not_let_them() -> None:
    assert steps_before_news(let_others_run) <= 1
    assert steps_before_news(lambda: gevent.sleep(0)) > 5


def test_a_picture_does_not_wait_behind_folders() -> None:
    both, log = Pacing(), list[str]()
    folders, pictures = queue_of(both, mark=False), queue_of(both, mark=True)
    uploads = [body(folders, log, "folder", 10) for _ in range(8)]
    run(*uploads, body(pictures, log, "picture", 8))
    last = len(log) - log[::-1].index("picture")
    assert log[:last].count("folder") <= 8  # in one queue it would be 64


class Counting(Pacing):
    """Counts how often a body waits, and in which queue."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.waited: list[str] = []

    def queue(self, environ: Any) -> Any:
        self.waited.append("picture" if super().queue(environ) is self._pictures else "other")
        return super().queue(environ)


def read(pace: Pace, sizes: Sequence[int]) -> None:
    for size in sizes:
        pace.wait()
        pace.note(size)


def test_a_usual_picture_never_waits() -> None:
    counted = Counting()
    read(Pace(counted, {}), [2**16] * 4)
    assert counted.waited == []


def test_a_large_body_waits_before_each_further_step() -> None:
    counted = Counting()
    read(Pace(counted, {}), [2**16] * 17)
    assert counted.waited == ["other"] * 4


def test_small_reads_count_by_their_bytes() -> None:
    counted = Counting()
    read(Pace(counted, {}), [1000] * 600)
    assert len(counted.waited) == 600_000 // pacing._STEP_BYTES


def test_a_request_that_turns_out_to_be_a_picture_changes_its_queue() -> None:
    counted, environ = Counting(), dict[str, Any]()
    pace = Pace(counted, environ)
    read(pace, [2**18, 2**18])
    mark_single_picture(environ)
    read(pace, [2**18])
    assert counted.waited == ["other", "picture"]


def test_a_photo_has_larger_steps_than_a_folder() -> None:
    steps = {}
    for name, mark in (("photo", True), ("folder", False)):
        environ: dict[str, Any] = {}
        if mark:
            mark_single_picture(environ)
        counted = Counting()
        read(Pace(counted, environ), [2**16] * 49)  # 3 MB
        steps[name] = len(counted.waited)
    assert steps == {"photo": 3, "folder": 12}


@pytest.fixture(autouse=True)
def client_of_no_other_test() -> None:
    note_client("")


def steps_of_a_folder(pacing: Pacing) -> int:
    """How often a folder of 5 MB waits."""
    waited: list[None] = []

    class Counted(Pace):
        def wait(self) -> None:
            waited.extend([None] * (self._left <= 0))
            super().wait()

    read(Counted(pacing, {}), [2**16] * 80)
    return len(waited)


def picture(pacing: Pacing, environ: dict[str, Any]) -> None:
    mark_single_picture(environ)
    read(Pace(pacing, environ), [1000])


def small_body_of_another_client(pacing: Pacing, environ: dict[str, Any]) -> None:
    def send() -> None:
        note_client("other")
        read(Pace(pacing, environ), [9])

    run(send)


def test_a_folder_that_comes_alone_has_large_steps_after_a_second() -> None:
    clock = Clock()
    alone = Pacing(clock)
    assert steps_of_a_folder(alone) == 19
    clock.now += 0.9
    assert steps_of_a_folder(alone) == 19
    clock.now += 0.1
    assert steps_of_a_folder(alone) == 5


@pytest.mark.parametrize("disturb", [picture, small_body_of_another_client])
def test_a_folder_has_small_steps_for_a_second_after_anything_else(
    disturb: Callable[[Pacing, dict[str, Any]], None],
) -> None:
    clock = Clock()
    beside = Pacing(clock)
    clock.now += 5
    disturb(beside, {})
    assert steps_of_a_folder(beside) == 19
    clock.now += 1
    assert steps_of_a_folder(beside) == 5


def test_folders_of_two_clients_never_have_large_steps() -> None:
    clock = Clock()
    both, waited = Pacing(clock), list[int]()

    def upload(client: str) -> None:
        note_client(client)
        for _ in range(3):
            clock.now += 0.6
            waited.append(steps_of_a_folder(both))

    run(lambda: upload("a"), lambda: upload("b"))
    # The body that waits while the clock goes on has one large step for that.
    assert len(waited) == 6 and all(16 <= each <= 19 for each in waited)


def test_a_folder_has_large_steps_while_each_round_takes_long() -> None:
    """It would wait for other clients at each step, and they hardly notice a larger one."""
    pacing_now, waited = Pacing(), list[int]()

    def ask_much() -> None:
        while not waited:
            time.sleep(0.012)
            let_others_run()

    run(ask_much, lambda: waited.append(steps_of_a_folder(pacing_now)))
    assert waited[0] <= 6


def test_large_steps_end_within_a_body_when_a_picture_comes() -> None:
    clock = Clock()
    pacing_now = Pacing(clock)
    clock.now += 1
    pace, waited = Pace(pacing_now, {}), list[int]()
    for number in range(6):
        read(pace, [2**18])
        waited.append(pace._left)
        if number == 1:
            picture(pacing_now, {})
    assert waited == [0, 3 * 2**18, 2**19, 2**18, 0, 0]

"""Callers that share one call."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import gevent
import pytest
from redis.exceptions import ConnectionError

from shared.single_flight import SingleFlight


class Call:
    """Answers each question with itself in capitals, once it may."""

    def __init__(self) -> None:
        self.questions: list[list[str]] = []
        self.may_answer = threading.Event()
        self.error: BaseException | None = None

    def __call__(self, questions: list[str]) -> list[str]:
        self.questions.append(questions)
        assert self.may_answer.wait(5)
        if self.error:
            raise self.error
        return [each.upper() for each in questions]


class Asking:
    """A question from a thread of its own."""

    def __init__(self, flight: SingleFlight[str, str], question: str) -> None:
        self._flight = flight
        self._question = question
        self.answer: object = None
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.answer = self._flight.ask(self._question)
        except BaseException as error:
            self.answer = error

    def wait(self) -> object:
        self._thread.join(timeout=5)
        assert not self._thread.is_alive()
        return self.answer


@pytest.fixture
def call() -> Call:
    return Call()


@pytest.fixture
def flight(call: Call) -> SingleFlight[str, str]:
    return SingleFlight(call)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def ask(flight: SingleFlight[str, str], *questions: str) -> list[Asking]:
    """Questions that come one after the other while the first is in flight."""
    asking = []
    for k, question in enumerate(questions):
        asking.append(Asking(flight, question))
        until(lambda: flight._in_flight == 1 and len(flight._waiting) == k)
    return asking


def test_a_caller_that_comes_alone_calls_at_once(
    call: Call, flight: SingleFlight[str, str]
) -> None:
    call.may_answer.set()
    assert flight.ask("a") == "A"
    assert flight.ask("b") == "B"
    assert call.questions == [["a"], ["b"]]


def test_questions_that_come_meanwhile_share_the_next_call(
    call: Call, flight: SingleFlight[str, str]
) -> None:
    asking = ask(flight, "a", "b", "c", "d")
    call.may_answer.set()
    assert [each.wait() for each in asking] == ["A", "B", "C", "D"]
    assert call.questions == [["a"], ["b", "c", "d"]]


def test_every_caller_hears_of_an_outage_after_one_call(
    call: Call, flight: SingleFlight[str, str]
) -> None:
    asking = ask(flight, *(str(k) for k in range(50)))
    call.error = ConnectionError("away")
    call.may_answer.set()
    assert [each.wait() for each in asking] == 50 * [call.error]
    assert call.questions == [["0"]]
    call.error = None
    assert flight.ask("a") == "A"


def test_another_error_reaches_only_the_callers_of_that_call(
    call: Call, flight: SingleFlight[str, str]
) -> None:
    asking = ask(flight, "a", "b", "c")
    call.error = KeyError("bad question")
    call.may_answer.set()
    assert [each.wait() for each in asking] == 3 * [call.error]
    assert call.questions == [["a"], ["b", "c"]]


def test_all_that_wait_can_be_let_go(call: Call, flight: SingleFlight[str, str]) -> None:
    first, *others = ask(flight, "a", "b", "c")
    error = ConnectionError("away")
    flight.fail_all(error)
    assert [each.wait() for each in others] == [error, error]
    call.may_answer.set()
    assert first.wait() == "A"


def test_a_patient_caller_makes_the_call_itself_in_the_end(
    call: Call, flight: SingleFlight[str, str]
) -> None:
    [first] = ask(flight, "a")
    second = threading.Thread(target=lambda: flight.ask("b", patience=0.01))
    second.start()
    until(lambda: call.questions == [["a"], ["b"]])
    call.may_answer.set()
    first.wait()
    second.join(timeout=5)
    assert not second.is_alive()


def test_callers_whose_call_was_killed_hear_of_an_error(
    call: Call, flight: SingleFlight[str, str]
) -> None:
    first, second, third = ask(flight, "a", "b", "c")
    call.error = gevent.GreenletExit()
    call.may_answer.set()
    assert first.wait() is call.error
    answers = [second.wait(), third.wait()]
    # One of the two made the call and was killed. The other one waited for it.
    assert {type(each) for each in answers} == {gevent.GreenletExit, ConnectionError}


def test_a_caller_that_is_killed_while_it_waits_does_not_hold_up_the_others() -> None:
    """As in the web process, where each request is a greenlet."""
    code = """
import gevent.monkey; gevent.monkey.patch_all()
import gevent, threading
from shared.single_flight import SingleFlight

calls, may_answer = [], threading.Event()

def call(questions):
    calls.append(questions)
    may_answer.wait()
    return questions

flight = SingleFlight(call)
first, second, third = [gevent.spawn(flight.ask, name) for name in "abc"]
gevent.sleep(0)
second.kill()
may_answer.set()
gevent.joinall([first, third], timeout=5, raise_error=True)
print(first.value, third.value, calls)
"""
    assert _run(code) == "a c [['a'], ['c']]"


def _run(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()

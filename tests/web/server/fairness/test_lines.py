"""A request waits for its share of a limit, in the order of its client, and never for ever."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest
from gevent import Greenlet

from web.server.fairness.lines import Lines

LONG = 20.0  #: Seconds; no test waits so long.


class Asking:
    """Requests of several clients, and who was served."""

    def __init__(self, limit: int, seconds: float = LONG) -> None:
        self.lines = Lines(limit, seconds=seconds)
        self.served: list[str] = []
        self.refused: list[str] = []
        self._greenlets: list[Greenlet] = []

    def ask(self, name: str, amount: int = 1, kind: str = "") -> Greenlet:
        """`name` is the client and a number. Return when the request is served or waits."""

        def take() -> None:
            came = self.lines.take(name[0], amount, kind)
            (self.served if came else self.refused).append(name)

        greenlet = gevent.spawn(take)
        self._greenlets.append(greenlet)
        gevent.idle()
        return greenlet

    def give_back(self, client: str, amount: int = 1) -> None:
        self.lines.give_back(client, amount)
        gevent.idle()

    def end(self) -> None:
        gevent.killall(self._greenlets)


@pytest.fixture
def of_four() -> Iterator[Asking]:
    asking = Asking(4)
    yield asking
    asking.end()


def test_a_client_waits_for_its_share_in_its_order(of_four: Asking) -> None:
    for name in ("a1", "a2", "a3", "a4"):
        of_four.ask(name)
    assert of_four.served == ["a1", "a2"]
    of_four.give_back("a")
    assert of_four.served == ["a1", "a2", "a3"]
    of_four.give_back("a")
    assert of_four.served == ["a1", "a2", "a3", "a4"]


def test_another_client_does_not_wait_for_those_that_wait(of_four: Asking) -> None:
    for number in range(10):
        of_four.ask(f"a{number}")
    of_four.ask("b1")
    assert of_four.served == ["a0", "a1", "b1"]


def test_a_large_request_is_not_passed_by_small_ones_of_its_line(
    of_four: Asking,
) -> None:
    of_four.ask("a1")
    of_four.ask("a2", 3)
    of_four.ask("a3")
    assert of_four.served == ["a1"]
    of_four.give_back("a")
    assert of_four.served == ["a1", "a2"]


def test_pictures_of_a_client_do_not_wait_behind_its_folders(of_four: Asking) -> None:
    of_four.ask("a1", kind="parts")
    of_four.ask("a2", 3, kind="parts")
    of_four.ask("a3", kind="pictures")
    assert of_four.served == ["a1", "a3"]


def test_clients_are_served_in_rotation() -> None:
    asking = Asking(8)
    for name in ("a0", "a1", "a2", "a3", "b0", "b1", "c0"):
        asking.ask(name)
    assert asking.served == ["a0", "a1", "a2", "a3", "b0", "b1", "c0"]
    for name in ("a4", "a5", "a6", "b2", "b3", "c1"):
        asking.ask(name)
    assert len(asking.served) == 7
    asking.lines.give_back("a", 4)
    gevent.idle()
    assert [each[0] for each in asking.served[7:10]] == ["a", "b", "c"]
    asking.end()


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_a_wait_ends_with_a_refusal_and_lets_the_next_go_on(seconds: float) -> None:
    asking = Asking(4, seconds)
    asking.ask("a1")
    asking.ask("a2", 4).join(5)
    asking.ask("a3")
    assert (asking.served, asking.refused) == (["a1", "a3"], ["a2"])
    asking.give_back("a", 2)
    assert asking.lines.take("b", 4), "all of it is free again"


def test_the_next_goes_on_when_the_first_is_refused() -> None:
    asking = Asking(4, 0.05)
    asking.ask("a1")
    first = asking.ask("a2", 4)
    gevent.sleep(0.02)  # the next one may wait longer
    second = asking.ask("a3")
    gevent.joinall([first, second], timeout=5)
    assert (asking.served, asking.refused) == (["a1", "a3"], ["a2"])


@pytest.mark.parametrize("served", [False, True], ids=["waits", "was just served"])
def test_a_killed_request_holds_nothing(of_four: Asking, served: bool) -> None:
    of_four.ask("a1", 4)
    killed = of_four.ask("a2", 4)
    killed.kill(block=not served)
    of_four.give_back("a", 4)
    assert of_four.served == ["a1"] and killed.dead
    assert of_four.lines.take("b", 4)


def test_nothing_is_granted_at_once(of_four: Asking) -> None:
    of_four.ask("a1", 4)
    of_four.ask("a2", 4)
    of_four.ask("a3", 0)
    assert of_four.served == ["a1", "a3"]

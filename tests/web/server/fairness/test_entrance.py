"""Many requests of one client do not delay each step of another's."""

from __future__ import annotations

import socket
from collections.abc import Callable
from wsgiref.types import WSGIEnvironment

import gevent
from gevent.event import Event

from tests.web.server.conftest import Connection
from web.server.fairness.departures import ClientGone
from web.server.fairness.entrance import Entrance, go_on
from web.server.fairness.pacing import let_others_run

ENVIRON: WSGIEnvironment = {"gunicorn.socket": None}

#: Rounds of the event loop that a request takes.
STEPS = 5


#: What a step takes, in seconds, if it is so dear that one request begins in a round.
DEAR = 0.01


class Work:
    """Steps of requests, which take time by a clock of the test."""

    def __init__(self, step_seconds: float = DEAR) -> None:
        self.steps: list[str] = []  #: Whose they were.
        self.entrance = Entrance(clock=lambda: step_seconds * len(self.steps))

    def do(self, client: str) -> None:
        for _ in range(STEPS):
            self.steps.append(client)
            let_others_run()

    def ask(self, client: str) -> None:
        self.entrance.wait(client, ENVIRON)
        self.do(client)


def test_a_request_waits_for_few_steps_of_another_client() -> None:
    work = Work()
    crowd = [gevent.spawn(work.ask, "many") for _ in range(200)]
    let_others_run()
    stranger = gevent.spawn(work.ask, "one")
    stranger.join(10)
    # In each of its rounds at most five requests of the crowd are under way, and one begins.
    assert work.steps.count("one") == STEPS and len(work.steps) < 50
    gevent.joinall(crowd, timeout=10, raise_error=True)
    assert work.steps.count("many") == 200 * STEPS


def test_requests_that_take_little_begin_together() -> None:
    work, before = Work(step_seconds=0.0005), list[int]()

    def ask() -> None:
        work.entrance.wait("client", ENVIRON)
        work.steps.append("begin")
        let_others_run()
        before.append(len(work.steps))

    gevent.joinall([gevent.spawn(ask) for _ in range(8)], timeout=10, raise_error=True)
    # The first one finds nobody before it. All others are let in by the first round.
    assert before[1:] == [8] * 7


def test_requests_of_a_client_begin_in_the_order_of_their_arrival() -> None:
    entrance, begun = Entrance(), list[int]()

    def enter(number: int) -> None:
        entrance.wait("client", ENVIRON)
        begun.append(number)

    gevent.joinall([gevent.spawn(enter, k) for k in range(20)], timeout=10, raise_error=True)
    assert begun == list(range(20))


def test_a_client_that_sends_one_request_at_a_time_never_waits() -> None:
    entrance, rounds = Entrance(), list[int]()

    def count() -> None:
        while True:
            rounds.append(len(rounds))
            let_others_run()

    counting = gevent.spawn(count)
    let_others_run()
    before = len(rounds)
    entrance.wait("client", ENVIRON)
    assert len(rounds) == before
    counting.kill()


def test_requests_whose_bodies_come_at_the_same_moment_go_on_one_after_the_other() -> None:
    work, body_is_here = Work(), Event()

    def send(client: str) -> None:
        environ: WSGIEnvironment = dict(ENVIRON)
        work.entrance.wait(client, environ)
        body_is_here.wait()
        go_on(environ)
        work.do(client)

    crowd = [gevent.spawn(send, "many") for _ in range(200)]
    for _ in range(300):
        let_others_run()
    stranger = gevent.spawn(send, "one")
    for _ in range(5):
        let_others_run()
    body_is_here.set()
    stranger.join(10)
    assert work.steps.count("one") == STEPS and len(work.steps) < 50
    gevent.joinall(crowd, timeout=10, raise_error=True)


def test_a_request_whose_body_came_with_its_head_waits_only_once() -> None:
    entrance = Entrance()
    others = [gevent.spawn(entrance.wait, "client", dict(ENVIRON)) for _ in range(20)]
    environ: WSGIEnvironment = dict(ENVIRON)
    entrance.wait("client", environ)
    assert all(other.ready() for other in others) is False
    go_on(environ)
    assert not all(other.ready() for other in others)
    gevent.joinall(others, timeout=10, raise_error=True)


def test_a_request_does_not_wait_again_after_its_head() -> None:
    entrance, begun = Entrance(), list[str]()

    def ask(client: str) -> None:
        entrance.read_head("address")
        before = len(begun)
        entrance.wait(client, ENVIRON)
        begun.append(f"{client} after {len(begun) - before} others")

    crowd = [gevent.spawn(ask, "address") for _ in range(20)]
    crowd.append(gevent.spawn(ask, "key"))
    gevent.joinall(crowd, timeout=10, raise_error=True)
    assert begun.count("address after 0 others") == 20
    # The head of one request is no turn of the next.
    other = gevent.spawn(entrance.wait, "address", ENVIRON)
    entrance.read_head("address")
    entrance.wait("address", ENVIRON)
    gevent.spawn(entrance.wait, "address", ENVIRON).join(10)
    assert other.ready()


def test_a_request_whose_client_has_gone_while_it_waited_does_not_begin(
    connect: Callable[[], Connection],
) -> None:
    entrance, staying, gone = Entrance(), connect(), connect()
    begun: list[Connection] = []

    def enter(connection: Connection) -> None:
        try:
            entrance.wait("client", {"gunicorn.socket": connection.far})
            begun.append(connection)
        except ClientGone:
            pass

    # Whoever does not wait is answered, because it may have closed its sending half alone.
    connections = [gone, gone, staying]
    gone.client.shutdown(socket.SHUT_WR)
    greenlets = [gevent.spawn(enter, each) for each in connections]
    gevent.joinall(greenlets, timeout=10, raise_error=True)
    assert begun == [gone, staying]

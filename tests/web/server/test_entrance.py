"""Many requests of one client do not delay each step of another's."""

from __future__ import annotations

from wsgiref.types import WSGIEnvironment

import gevent

from web.server.entrance import Entrance
from web.server.pacing import let_others_run

ENVIRON: WSGIEnvironment = {"gunicorn.socket": None}

#: Rounds of the event loop that a request takes.
STEPS = 5


def ask(entrance: Entrance, client: str, steps: list[str]) -> None:
    entrance.wait(client, ENVIRON)
    for _ in range(STEPS):
        steps.append(client)
        let_others_run()


def test_a_request_waits_for_few_steps_of_another_client() -> None:
    entrance, steps = Entrance(), list[str]()
    crowd = [gevent.spawn(ask, entrance, "many", steps) for _ in range(200)]
    let_others_run()
    stranger = gevent.spawn(ask, entrance, "one", steps)
    stranger.join(10)
    # In each of its rounds at most five requests of the crowd are under way, and one begins.
    assert steps.count("one") == STEPS and len(steps) < 50
    gevent.joinall(crowd, timeout=10, raise_error=True)
    assert steps.count("many") == 200 * STEPS


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

"""Requests that clients have under way, counted wherever their connections come from."""

from __future__ import annotations

import gevent

from web.server.fairness.places import Places


def take(places: Places, client: str) -> bool:
    """For a request of its own, which lasts."""
    return bool(gevent.spawn(places.take, client).get())


def test_a_client_gets_half_of_the_places() -> None:
    places = Places()
    places.limit(4)
    assert [take(places, "one") for _ in range(3)] == [True, True, False]
    assert take(places, "other")


def test_an_answer_gives_back_the_place_of_its_request() -> None:
    places = Places()
    places.limit(2)

    def answer() -> bool:
        taken = places.take("client")
        places.give_back()
        places.give_back()  # the next request of the connection had none
        return taken

    assert all(gevent.spawn(answer).get() for _ in range(3))


def test_a_server_of_another_kind_has_no_limit() -> None:
    places = Places()
    assert all(take(places, "client") for _ in range(10))
    places.give_back()

"""A limit that clients share."""

from __future__ import annotations

import pytest

from web.server.fairness.shares import Shares


def take_all(shares: Shares, client: str) -> int:
    """Take as much as `client` may, one by one; gives how much that was."""
    taken = 0
    while shares.take(client):
        taken += 1
    return taken


def test_one_client_gets_half() -> None:
    assert take_all(Shares(100), "a") == 50


def test_each_further_client_gets_half_of_what_is_left() -> None:
    shares = Shares(1000)
    assert [take_all(shares, each) for each in "abcd"] == [500, 250, 125, 63]


def test_what_is_given_back_can_be_taken_by_another() -> None:
    shares = Shares(3)
    assert shares.take("a", 1) and not shares.take("b", 3)
    shares.give_back("a", 1)
    assert shares.take("b", 3)


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_a_client_that_is_alone_gets_at_least_one(limit: int) -> None:
    assert Shares(limit).take("a")


def test_more_than_the_limit_fits_where_nobody_holds_anything() -> None:
    shares = Shares(10)
    assert shares.take("a", 1000)
    assert not shares.take("b") and not shares.take("a")
    shares.give_back("a", 1000)
    assert shares.take("b", 5)


def test_nothing_is_always_granted() -> None:
    shares = Shares(1)
    assert shares.take("a") and shares.take("b", 0)
    shares.give_back("b", 0)

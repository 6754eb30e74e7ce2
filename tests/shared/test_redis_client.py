"""How commands leave: large values uncopied, and everything whole."""

from __future__ import annotations

import os

import pytest
from redis import Redis


@pytest.mark.parametrize("size", [0, 1, 2**14, 2**14 + 1, 2**20])
def test_a_value_of_any_size_arrives_whole(redis: Redis, size: int) -> None:
    value = os.urandom(size)
    pipe = redis.pipeline()
    pipe.hset("hash", "0", value)
    pipe.hset("hash", "1", b"neighbour")
    pipe.execute()
    assert redis.hgetall("hash") == {b"0": value, b"1": b"neighbour"}


def test_a_picture_is_sent_from_where_it_lies(redis: Redis) -> None:
    picture = os.urandom(100_000)
    connection = redis.connection_pool.get_connection()
    try:
        pieces = connection.pack_commands([("HSET", "hash", "0", picture)])
        assert any(piece is picture for piece in pieces)
    finally:
        redis.connection_pool.release(connection)

"""Where the pictures of a client wait that sends many of them."""

from __future__ import annotations

import io

from flask.testing import FlaskClient
from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE, Lane
from tests.support.bodies import JPEG
from tests.support.stored_jobs import announce_model

LANE = Lane.INTERACTIVE


def test_the_pictures_of_a_flood_wait_for_their_rounds(client: FlaskClient, redis: Redis) -> None:
    """Those with an idempotency key do: each needs a transaction of its own."""
    announce_model(redis)
    for k in range(PART_SIZE + 8):
        headers = {"Idempotency-Key": f"{k}"}
        picture = JPEG + b"%d" % k
        answer = client.post("/api/v1/classify?wait=0", data=picture, headers=headers)
        assert answer.status_code == 202
    assert redis.llen(LANE) == PART_SIZE
    assert redis.zcard(keys.waiting(LANE)) == 8


def test_a_form_of_several_pictures_waits_for_its_rounds(client: FlaskClient, redis: Redis) -> None:
    announce_model(redis)
    files = [(io.BytesIO(JPEG + b"%d" % k), f"{k}.jpg") for k in range(100)]
    assert client.post("/jobs?lane=interactive", data={"files": files}).status_code == 202
    assert redis.llen(LANE) == 1
    assert redis.zcard(keys.waiting(LANE)) == 3
    address = next(each for each, _ in redis.zscan_iter(keys.clients(LANE)))
    assert address == b"address 127.0.0.1"

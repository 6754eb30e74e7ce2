"""A client may have a limited number of single pictures in the queue at once."""

from __future__ import annotations

import io

import pytest
from flask.testing import FlaskClient
from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE, Lane
from tests.support.bodies import JPEG
from tests.support.stored_jobs import announce_model
from web.submit.coalescer import Coalescer
from web.submit.single_pictures import SinglePictures

LANE = Lane.INTERACTIVE


def test_a_client_may_have_as_many_as_a_batch_takes() -> None:
    singles = SinglePictures()
    assert all(singles.enter("a", f"{k}") for k in range(PART_SIZE))
    assert not singles.enter("a", "more")
    assert singles.enter("b", "first")


def test_a_committed_picture_leaves_its_place_to_the_next() -> None:
    singles = SinglePictures()
    for k in range(PART_SIZE):
        singles.enter("a", f"{k}")
    singles.leave("unknown")
    assert not singles.enter("a", "more")
    singles.leave("7")
    assert singles.enter("a", "more")


def test_a_picture_whose_commit_nobody_noted_does_not_count_for_ever() -> None:
    now = 0.0
    singles = SinglePictures(lambda: now)
    for k in range(PART_SIZE):
        singles.enter("a", f"{k}")
    now = 61.0
    assert singles.enter("a", "more")
    singles.leave("0")  # it is late, and not counted any more
    assert singles.enter("a", "another")
    singles.forget_all()
    assert all(singles.enter("a", f"{k}") for k in range(PART_SIZE))


def test_the_pictures_of_a_flood_wait_for_their_rounds(
    client: FlaskClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce_model(redis)
    monkeypatch.setattr(Coalescer, "_may_leave", lambda coalescer: True)  # nothing is committed
    # On a busy machine a late answer of Redis may pass for an outage.
    monkeypatch.setattr(SinglePictures, "forget_all", lambda singles: None)
    for k in range(PART_SIZE + 40):
        headers = {"Idempotency-Key": f"{k}"} if k % 2 else {}
        picture = JPEG + b"%d" % k
        answer = client.post("/api/v1/classify?wait=0", data=picture, headers=headers)
        assert answer.status_code == 202
    assert redis.llen(LANE) == 2 * PART_SIZE  # queued at once, and after their rounds
    assert redis.zcard(keys.waiting(LANE)) == 8


def test_a_form_of_several_pictures_waits_for_its_rounds(client: FlaskClient, redis: Redis) -> None:
    announce_model(redis)
    files = [(io.BytesIO(JPEG + b"%d" % k), f"{k}.jpg") for k in range(100)]
    assert client.post("/jobs?lane=interactive", data={"files": files}).status_code == 202
    assert redis.llen(LANE) == 1
    assert redis.zcard(keys.waiting(LANE)) == 3
    address = next(each for each, _ in redis.zscan_iter(keys.clients(LANE)))
    assert address == b"address 127.0.0.1"

"""`GET /model/labels`: all labels of the model that the workers have."""

from __future__ import annotations

from flask.testing import FlaskClient
from redis import Redis

from shared import keys
from shared.serving import model_info
from tests.support.stored_jobs import announce_model


def test_labels_come_in_the_order_of_their_ids(client: FlaskClient, redis: Redis) -> None:
    model_info.announce_labels(redis, "m-1", ["tench", "Größe"])
    announce_model(redis, version="m-1")
    answer = client.get("/api/v1/model/labels").json
    assert answer == {
        "model_version": "m-1",
        "labels": [{"id": 0, "name": "tench"}, {"id": 1, "name": "Größe"}],
    }


def test_labels_of_a_large_model_come_whole(client: FlaskClient, redis: Redis) -> None:
    names = [f"label {k} of a large model" for k in range(21_000)]
    model_info.announce_labels(redis, "m-1", names)
    announce_model(redis, version="m-1")
    listed = client.get("/api/v1/model/labels").json["labels"]
    assert [each["name"] for each in listed] == names


def test_labels_of_another_version_are_not_given(client: FlaskClient, redis: Redis) -> None:
    model_info.announce_labels(redis, "m-1", ["tench"])
    announce_model(redis, version="m-2")
    answer = client.get("/api/v1/model/labels")
    assert (answer.status_code, answer.json["code"]) == (503, "model_not_ready")


def test_labels_expire(redis: Redis) -> None:
    model_info.announce_labels(redis, "m-1", ["tench"])
    assert 0 < redis.ttl(keys.labels("m-1")) <= model_info.TTL_SECONDS

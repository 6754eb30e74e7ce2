"""Our message is compared with Celery's, so that a change in Celery or kombu is noticed."""

from __future__ import annotations

import base64
import json
from typing import Any

from redis import Redis

from shared.jobs import Lane, PartRef
from shared.message import CLASSIFY, IMAGES, message, packed
from shared.settings import Settings
from workers.celery_app import make_celery

REFS = [PartRef("a", 0, 32), PartRef("b", 1, 2)]


def as_celery_sends_it(redis: Redis, redis_url: str) -> dict[str, Any]:
    app = make_celery(Settings(redis_url=redis_url))
    app.send_task(
        CLASSIFY,
        args=[[list(ref) for ref in REFS]],
        queue=Lane.BULK,
        headers={IMAGES: 34},
        ignore_result=True,
    )
    app.close()
    text = redis.lpop("bulk")
    assert isinstance(text, bytes)
    sent: dict[str, Any] = json.loads(text)
    return sent


def test_a_message_is_what_celery_would_send(redis: Redis, redis_url: str) -> None:
    ours = json.loads(message(Lane.BULK, REFS))
    theirs = as_celery_sends_it(redis, redis_url)

    assert json.loads(base64.b64decode(ours["body"])) == json.loads(
        base64.b64decode(theirs["body"])
    )
    for kind in ("headers", "properties"):
        differing = {
            name
            for name in theirs[kind]
            if name in ours[kind] and theirs[kind][name] != ours[kind][name]
        }
        assert differing <= {"id", "root_id", "correlation_id", "delivery_tag", "argsrepr"}
        assert set(ours[kind]) <= set(theirs[kind])
    # Only Celery sends these: the sender, and features that the service does not use.
    assert set(theirs["headers"]) - set(ours["headers"]) == {
        "shadow",
        "group_index",
        "origin",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
    }
    assert set(theirs["properties"]) - set(ours["properties"]) == {"reply_to"}
    assert set(ours) == set(theirs)


def test_every_message_has_its_own_id() -> None:
    ids = {json.loads(message(Lane.BULK, REFS))["headers"]["id"] for _ in range(10)}
    assert len(ids) == 10


def test_parts_share_a_message_up_to_a_full_part() -> None:
    sizes = [1, 1, 30, 1, 32, 32, 5]
    refs = [PartRef(str(k), 0, images) for k, images in enumerate(sizes)]
    assert [[ref.images for ref in each] for each in packed(refs)] == [
        [1, 1, 30],
        [1],
        [32],
        [32],
        [5],
    ]

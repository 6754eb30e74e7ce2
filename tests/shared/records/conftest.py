"""The notices that scripts publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from shared import keys


@pytest.fixture
def notices(redis: Redis) -> Iterator[Callable[[], list[str]]]:
    """A function that gives all notices since its last call."""
    pubsub = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    pubsub.subscribe(keys.COMMITTED)
    pubsub.get_message(timeout=1)

    def published() -> list[str]:
        redis.publish(keys.COMMITTED, "the end")
        texts = []
        while (text := pubsub.get_message(timeout=5)["data"].decode()) != "the end":
            texts.append(text)
        return texts

    yield published
    pubsub.close()

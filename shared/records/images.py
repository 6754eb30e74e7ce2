"""Stores the bytes of pictures in Redis, where they wait for a worker."""

from __future__ import annotations

from collections.abc import Mapping

from redis.client import Pipeline


def store_images(pipe: Pipeline, key: str, images: Mapping[int, bytes], seconds: int) -> None:
    """Add images, by position, to a transaction; they expire after `seconds`.

    Each image is a command of its own: both sides copy one large command several times.
    """
    for position, data in images.items():
        pipe.hset(key, str(position), data)
    pipe.expire(key, seconds)

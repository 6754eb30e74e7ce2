"""Flask, Redis and two loops: the way of this project without its promises.

Pictures wait in one list, and answers come over one channel. There is no record, limit, cache, log
or metric. A bad picture ends a loop, and a loop that dies loses its pictures.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections import defaultdict

import gevent
from flask import Flask, request
from gevent.event import AsyncResult
from redis import Redis

from loadtest.peers.classifier import Classifier
from shared.settings import Settings

_PICTURES = "pictures"

#: Most pictures in one run of the engine.
_MOST = 8


def create_app() -> Flask:
    app = Flask(__name__)
    redis = _connect()
    waiting: dict[str, AsyncResult[str]] = {}
    numbers = itertools.count()
    channel = uuid.uuid4().hex
    answers = redis.pubsub()
    answers.subscribe(channel)  # Before the first picture, because an earlier answer is lost.

    def listen() -> None:
        for message in answers.listen():
            if message["type"] == "message":
                for number, label in json.loads(message["data"]).items():
                    waiting.pop(number).set(label)

    @app.post("/classify")
    def classify() -> dict[str, str]:
        number = str(next(numbers))
        waiting[number] = answer = AsyncResult()
        redis.rpush(_PICTURES, f"{channel} {number}", request.get_data())
        return {"label": answer.get(timeout=60)}

    gevent.spawn(listen)
    return app


def main() -> None:
    """Classify the pictures that wait, for ever."""
    redis, classifier = _connect(), Classifier()
    while True:
        _, taken = redis.blmpop(0, 1, _PICTURES, direction="LEFT", count=2 * _MOST)
        answers: dict[str, dict[str, str]] = defaultdict(dict)
        labels = classifier.labels(taken[1::2])
        for address, label in zip(taken[::2], labels, strict=True):
            channel, number = address.decode().split()
            answers[channel][number] = label
        for channel, ready in answers.items():
            redis.publish(channel, json.dumps(ready))


def _connect() -> Redis:
    return Redis.from_url(Settings().redis_url, socket_timeout=None)


if __name__ == "__main__":
    main()

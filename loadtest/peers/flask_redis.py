"""Flask, Redis and two loops, and nothing else: what this project's way costs by itself.

Pictures wait in one list and answers come over one channel. There is no record, limit, cache, log
or metric, a bad picture ends a loop, and what a loop holds when it dies is lost.
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

#: In one run of the engine.
_MOST = 8


def create_app() -> Flask:
    app = Flask(__name__)
    redis = _connect()
    waiting: dict[str, AsyncResult[str]] = {}
    numbers = itertools.count()
    channel = uuid.uuid4().hex
    heard = redis.pubsub()
    heard.subscribe(channel)  # before a picture is taken: who answers is not heard later

    def listen() -> None:
        for message in heard.listen():
            if message["type"] == "message":
                for number, label in json.loads(message["data"]).items():
                    waiting.pop(number).set(label)

    @app.post("/classify")
    def classify() -> dict[str, str]:
        number = str(next(numbers))
        waiting[number] = told = AsyncResult()
        redis.rpush(_PICTURES, f"{channel} {number}", request.get_data())
        return {"label": told.get(timeout=60)}

    gevent.spawn(listen)
    return app


def main() -> None:
    """Classify what waits, without end."""
    redis, classifier = _connect(), Classifier("onnxruntime")
    while True:
        _, found = redis.blmpop(0, 1, _PICTURES, direction="LEFT", count=2 * _MOST)
        answers: dict[str, dict[str, str]] = defaultdict(dict)
        labels = classifier.labels(found[1::2])
        for asked, label in zip(found[::2], labels, strict=True):
            channel, number = asked.decode().split()
            answers[channel][number] = label
        for channel, told in answers.items():
            redis.publish(channel, json.dumps(told))


def _connect() -> Redis:
    return Redis.from_url(Settings().redis_url, socket_timeout=None)


if __name__ == "__main__":
    main()

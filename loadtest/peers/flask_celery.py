"""Flask and Celery with one task for each picture, torch, and results from the backend.

This is the usual way to build what this project does, without any work on speed.
"""

from __future__ import annotations

import base64

from celery import Celery
from celery.signals import worker_process_init
from flask import Flask, request

from loadtest.peers.classifier import Classifier
from shared.settings import Settings

_URL = Settings().redis_url

app = Flask(__name__)
tasks = Celery("peer", broker=_URL, backend=_URL)
tasks.conf.update(worker_prefetch_multiplier=1)
_loaded: list[Classifier] = []


@worker_process_init.connect
def _load(**_: object) -> None:
    _loaded.append(Classifier("torch"))


@tasks.task
def label(picture: str) -> str:
    return _loaded[0].label(base64.b64decode(picture))


@app.post("/classify")
def classify() -> dict[str, str]:
    picture = base64.b64encode(request.files["file"].read()).decode()
    return {"label": label.delay(picture).get(timeout=60)}

"""`classify` goes on waiting when the service answers with a job."""

from __future__ import annotations

from typing import Any

import pytest

from client import ImageClassifier, NotFinished, errors
from tests.client.scripted_jobs import ScriptedJob, ScriptedJobs
from tests.client.scripted_server import Answer, Cut, Request, scripted_server

TABBY = {"class_id": 281, "class_name": "tabby", "probability": 0.5}


class SlowJob:
    """A job of one item that ends when it has been read `reads` times."""

    def __init__(self, item: dict[str, Any], *, reads: int) -> None:
        self._item = {"index": 0, "name": "picture"} | item
        self._left = reads

    def __call__(self, request: Request) -> Answer | Cut:
        if request.method == "POST":
            return Answer(202, self._status())
        if "/results" in request.path:
            return Answer(200, {"items": [self._item], "next_offset": None})
        self._left -= 1
        return Answer(200, self._status())

    def _status(self) -> dict[str, Any]:
        running = {"state": "queued"} if self._left > 0 else {"state": "completed"}
        return ScriptedJobs().status("slow", ScriptedJob(1)) | running


def test_classify_waits_for_the_job_and_returns_its_labels() -> None:
    job = SlowJob({"state": "succeeded", "predictions": [TABBY], "model_version": "m"}, reads=3)
    with scripted_server(job) as server, ImageClassifier(server.url) as service:
        answer = service.classify(b"picture")
    assert (answer.job_id, answer.label, answer.model_version) == ("slow", "tabby", "m")
    assert sum(request.path.startswith("/api/v1/jobs/slow?") for request in server.requests) == 3


def test_a_failed_item_of_the_job_is_the_exception_of_its_code() -> None:
    error = {"code": "decode_failed", "message": "The picture is damaged."}
    job = SlowJob({"state": "failed", "error": error}, reads=1)
    with scripted_server(job) as server, ImageClassifier(server.url) as service:
        with pytest.raises(errors.DecodeFailed, match="The picture is damaged") as raised:
            service.classify(b"picture")
    assert raised.value.job_id == "slow"


def test_a_timeout_names_the_job_that_will_have_the_answer() -> None:
    job = SlowJob({"state": "succeeded"}, reads=1_000_000)
    with scripted_server(job) as server, ImageClassifier(server.url) as service:
        with pytest.raises(NotFinished) as raised:
            service.classify(b"picture", timeout=0.05)
    assert raised.value.job_id == "slow"

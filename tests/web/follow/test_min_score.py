"""`min_score`: a picture whose best label has a lower probability gets no label.

The best label of these tests has the probability 0.875.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from shared import keys
from shared.jobs import Lane, PartRef
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache
from tests.support.bodies import JPEG
from tests.support.stored_jobs import announce_model
from tests.web.follow.stored_jobs import FAILURE, SUCCESS, accept, commit
from tests.web.intake.archive_files import zipped
from tests.web.submit.open_jobs.new_jobs import digest, picture

CLASSIFY = "/api/v1/classify"

ZIP = {"content_type": "application/zip"}

#: min_score -> label and below_threshold of a picture.
VERDICTS = {0: ("peacock", False), 0.875: ("peacock", False), 0.9: (None, True), 1: (None, True)}


def verdict(answer: dict[str, Any]) -> tuple[str | None, bool]:
    assert answer["labels"] == ([answer["label"]] if answer["label"] else [])
    return answer["label"], answer["below_threshold"]


def cache(redis: Redis) -> None:
    """Let the result cache have the outcome of picture 0."""
    announce_model(redis)
    pipe = redis.pipeline()
    ResultCache(redis, ttl_seconds=60).put(pipe, {digest(0): SUCCESS})
    pipe.execute()


def accepted(client: FlaskClient, path: str, **request: Any) -> dict[str, Any]:
    answer = client.post(path, **request)
    assert answer.status_code in (201, 202), answer.text
    body: dict[str, Any] = answer.json
    return dict(body.get("job", body))


def form(file: bytes = JPEG, **fields: Any) -> dict[str, Any]:
    return {"data": {"files": (io.BytesIO(file), "a"), **fields}}


@pytest.mark.parametrize("min_score", VERDICTS)
def test_the_answer_for_one_picture(client: FlaskClient, redis: Redis, min_score: float) -> None:
    cache(redis)
    for request in (
        client.post(f"{CLASSIFY}?min_score={min_score}", data=picture(0)),
        client.post(CLASSIFY, data={"file": (io.BytesIO(picture(0)), "a"), "min_score": min_score}),
    ):
        assert request.status_code == 200
        assert verdict(request.json) == VERDICTS[min_score]
        best = request.json["predictions"][0]
        assert (best["class_name"], best["probability"]) == ("peacock", 0.875)


def test_a_form_has_the_last_word_also_with_zero(client: FlaskClient, redis: Redis) -> None:
    cache(redis)
    data = {"file": (io.BytesIO(picture(0)), "a"), "min_score": "0"}
    assert verdict(client.post(f"{CLASSIFY}?min_score=1", data=data).json) == ("peacock", False)


def test_a_picture_that_is_answered_later(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job = accepted(client, f"{CLASSIFY}?min_score=0.9&wait=0", data=JPEG)
    assert job["min_score"] == 0.9
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, PartRef(job["id"], 0, 1), Lane.INTERACTIVE, {0: SUCCESS})
    pipe.execute()
    [item] = client.get(f"/jobs/{job['id']}/results").json["items"]
    assert verdict(item) == (None, True)


@pytest.mark.parametrize(
    "path, request_of",
    [
        ("/jobs", form(min_score="0.9")),
        ("/jobs", {"json": {"total": 1, "min_score": 0.9}}),
        ("/jobs?min_score=0.9", {"data": zipped([("a.jpg", JPEG)])} | ZIP),
        ("/jobs", form(zipped([("a.jpg", JPEG)]), min_score="0.9")),
    ],
    ids=["form", "JSON", "archive", "archive in a form"],
)
def test_each_kind_of_job_keeps_it(
    client: FlaskClient, redis: Redis, path: str, request_of: dict[str, Any]
) -> None:
    job = accepted(client, path, **request_of)
    assert job["min_score"] == 0.9
    assert client.get(f"/jobs/{job['id']}").json["min_score"] == 0.9
    assert redis.hget(keys.job(job["id"]), "min_score") == b"0.9"


def test_a_job_without_it_has_a_record_as_before(client: FlaskClient, redis: Redis) -> None:
    job = accepted(client, "/jobs", **form())
    assert job["min_score"] == 0
    assert not redis.hexists(keys.job(job["id"]), "min_score")


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "inf", "half", ""])
def test_a_wrong_value_is_refused(client: FlaskClient, value: str) -> None:
    answers: list[TestResponse] = [
        client.post(f"{CLASSIFY}?min_score={value}", data=JPEG),
        client.post("/jobs", **form(min_score=value)),
        client.post("/jobs", json={"total": 1, "min_score": value}),
        client.post(f"/jobs?min_score={value}", **form()),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
        assert answer.json["detail"].startswith("min_score: ")


@pytest.mark.parametrize("min_score", VERDICTS)
def test_every_form_of_results(
    client: FlaskClient, jobs: JobRecords, redis: Redis, min_score: float
) -> None:
    job_id = accept(jobs, 3, min_score=min_score)
    commit(jobs, redis, job_id, {0: SUCCESS, 1: FAILURE})
    wanted = [VERDICTS[min_score], (None, False), (None, False)]  # labelled, failed, queued

    address = f"/jobs/{job_id}/results?format"
    page = client.get(f"{address}=json").json["items"]
    assert list(map(verdict, page)) == wanted
    assert page[0]["predictions"][0]["class_name"] == "peacock"
    lines = client.get(f"{address}=jsonl").text.splitlines()
    assert list(map(json.loads, lines)) == page

    rows = list(csv.DictReader(io.StringIO(client.get(f"{address}=csv").text, newline="")))
    assert [(row["label"] or None, row["below_threshold"]) for row in rows] == [
        (label, str(below).lower()) for label, below in wanted
    ]
    assert (rows[0]["probability"], rows[0]["class_id"]) == ("0.875", "84")
    assert list(rows[0])[-2:] == ["below_threshold", "label_count"]
    assert [row["label_count"] for row in rows] == [str(int(bool(label))) for label, _ in wanted]


def test_events_have_it_too(client: FlaskClient, jobs: JobRecords, redis: Redis) -> None:
    job_id = accept(jobs, 2, min_score=0.9)
    commit(jobs, redis, job_id, {0: SUCCESS, 1: FAILURE})
    events = client.get(f"/jobs/{job_id}/events").text.split("\n\n")
    items = [json.loads(event.partition("data: ")[2]) for event in events if "event: item" in event]
    assert list(map(verdict, items)) == [(None, True), (None, False)]
    end = next(event for event in events if "event: end" in event)
    assert json.loads(end.partition("data: ")[2])["min_score"] == 0.9


def test_the_cache_has_raw_scores(client: FlaskClient, redis: Redis) -> None:
    """So a picture that is sent again is judged by the value of the new request."""
    cache(redis)
    for min_score in (1, 0, 0.9):
        answer = client.post(f"{CLASSIFY}?min_score={min_score}", data=picture(0)).json
        assert answer["cache_hit"] and verdict(answer) == VERDICTS[min_score]

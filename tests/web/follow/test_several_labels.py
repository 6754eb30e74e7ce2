"""Results of a model that gives several labels, or none: each form has the same ones."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from shared.jobs import Outcome, Prediction
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache
from tests.support.stored_jobs import announce_model
from tests.web.follow.stored_jobs import FAILURE, SUCCESS, accept, commit
from tests.web.submit.open_jobs.new_jobs import digest, picture

PREDICTIONS = tuple(
    Prediction(k, name, score)
    for k, (name, score) in enumerate({"cat": 0.75, "owl": 0.5, "dog": 0.25, "fox": 0.125}.items())
)


def outcome(reaching: int) -> Outcome:
    return replace(SUCCESS, predictions=PREDICTIONS, reaching=reaching)


#: reaching, min_score -> labels.
LABELS = {
    (2, 0): ["cat", "owl"],
    (2, 0.5): ["cat", "owl"],
    (2, 0.6): ["cat"],
    (2, 0.8): [],
    (0, 0): [],
    (4, 0): ["cat", "owl", "dog", "fox"],
    (1, 0): ["cat"],
}


def assert_is(answer: dict[str, Any], labels: Sequence[str]) -> None:
    assert answer["labels"] == labels
    assert answer["label"] == (labels[0] if labels else None)
    assert answer["below_threshold"] == (not labels)
    best = answer["predictions"][0]
    assert (best["class_name"], best["probability"]) == ("cat", 0.75), "raw scores stay"


@pytest.mark.parametrize(("reaching", "min_score"), LABELS)
def test_every_form_of_results(
    client: FlaskClient, jobs: JobRecords, redis: Redis, reaching: int, min_score: float
) -> None:
    labels = LABELS[reaching, min_score]
    job_id = accept(jobs, 3, top_k=4, min_score=min_score)
    commit(jobs, redis, job_id, {0: outcome(reaching), 1: FAILURE})
    address = f"/jobs/{job_id}/results?format"
    page = client.get(f"{address}=json").json["items"]
    assert_is(page[0], labels)
    assert [(each["labels"], each["below_threshold"]) for each in page[1:]] == [([], False)] * 2
    assert list(map(json.loads, client.get(f"{address}=jsonl").text.splitlines())) == page
    table = client.get(f"{address}=csv").text
    row, failed, queued = csv.DictReader(io.StringIO(table, newline=""))
    assert row["label_count"] == str(len(labels))
    assert row["label"] == (labels[0] if labels else "")
    assert [row[f"label_{k}"] for k in (2, 3, 4)] == ["owl", "dog", "fox"]
    assert (failed["label_count"], queued["label_count"]) == ("0", "0")


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_an_answer_from_the_cache_has_at_most_top_k(
    client: FlaskClient, redis: Redis, top_k: int
) -> None:
    announce_model(redis)
    pipe = redis.pipeline()
    ResultCache(redis, ttl_seconds=60).put(pipe, {digest(0): outcome(3)})
    pipe.execute()
    for min_score, labels in ((0, ["cat", "owl", "dog"]), (0.4, ["cat", "owl"]), (0.9, [])):
        query = f"top_k={top_k}&min_score={min_score}"
        answer = client.post(f"/api/v1/classify?{query}", data=picture(0)).json
        assert answer["cache_hit"] and len(answer["predictions"]) == top_k
        assert_is(answer, labels[:top_k])

"""Embeddings: who may ask for them, and which answers have them."""

from __future__ import annotations

import base64
import io
import json
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from redis import Redis

from shared import keys
from shared.jobs import Lane, Outcome, PartRef
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache
from shared.serving import model_info, model_versions
from tests.support.servers.memory_limit import memory_limit
from tests.support.stored_jobs import new_model
from tests.support.waiting import wait_until
from tests.web.follow.stored_jobs import FAILURE, SUCCESS
from tests.web.submit.open_jobs.new_jobs import digest, picture

SIZE = 4
VECTOR = np.array([0.5, -2, 1e-3, 60000], "<f2").tobytes()
TEXT = base64.b64encode(VECTOR).decode()


def announce(redis: Redis, version: str = "m-1", embedding: int = SIZE) -> None:
    """A worker of each lane has this model, which becomes the current one."""
    info = replace(new_model(version), embedding=embedding)
    redis.delete(keys.MODEL)
    model_info.announce(redis, info)
    pipe = redis.pipeline()
    for lane in Lane:
        text = model_info.to_json(info)
        model_versions.give_sign(pipe, lane, "worker", text, _now(redis))
    pipe.execute()


def _now(redis: Redis) -> float:
    seconds, _ = redis.time()
    return float(seconds)


def form(*indexes: int, **fields: str) -> dict[str, Any]:
    return {"files": [(io.BytesIO(picture(k)), f"{k}.jpg") for k in indexes], **fields}


ASKING: dict[str, dict[str, Any]] = {
    "a form": {"path": "/jobs", "data": lambda: form(0, 1, embeddings="true")},
    "the address of a form": {"path": "/jobs?embeddings=true", "data": lambda: form(0, 1)},
    "JSON": {"path": "/jobs", "json": {"total": 2, "embeddings": True}},
    "classify": {"path": "/api/v1/classify?embeddings=true&wait=0", "data": lambda: picture(0)},
    "a form to classify": {
        "path": "/api/v1/classify?wait=0",
        "data": lambda: {"file": (io.BytesIO(picture(0)), "a.jpg"), "embeddings": "true"},
    },
}


def send(client: FlaskClient, asking: dict[str, Any]) -> Any:
    request = dict(asking)
    path, data = request.pop("path"), request.pop("data", None)
    return client.post(path, **request, **({"data": data()} if data else {}))


def accept(client: FlaskClient, *indexes: int) -> str:
    response = client.post("/jobs", data=form(*indexes, embeddings="true"))
    assert response.status_code == 202, response.text
    return str(response.json["id"])


def commit(redis: Redis, jobs: JobRecords, job_id: str, outcomes: list[Outcome]) -> None:
    pipe = redis.pipeline(transaction=False)
    ref = PartRef(job_id, 0, len(outcomes))
    jobs.parts.commit(pipe, ref, Lane.BULK, dict(enumerate(outcomes)))
    pipe.execute()


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_a_model_without_an_embedding_is_named(
    client: FlaskClient, redis: Redis, asking: dict[str, Any]
) -> None:
    announce(redis, embedding=0)
    response = send(client, asking)
    assert response.status_code == 422
    assert response.json["code"] == "no_embedding"
    assert "The model m-1 has no embedding" in response.json["detail"]
    assert "--embedding" in response.json["detail"]
    assert not redis.keys("job:*")


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_workers_of_an_earlier_release_are_not_asked(
    client: FlaskClient, redis: Redis, asking: dict[str, Any]
) -> None:
    """They announce their model without the field, and would ignore the request."""
    announce(redis)
    for key in (keys.MODEL, keys.model("m-1")):
        fields = json.loads(redis.get(key) or "")
        fields.pop("embedding", None)
        redis.set(key, json.dumps(fields))
    assert send(client, asking).json["code"] == "no_embedding"


def test_before_the_first_worker_nobody_knows(client: FlaskClient, redis: Redis) -> None:
    response = client.post("/jobs", json={"total": 2, "embeddings": True})
    assert (response.status_code, response.json["code"]) == (503, "model_not_ready")


def test_while_no_worker_runs_the_client_tries_again(client: FlaskClient, redis: Redis) -> None:
    announce(redis)
    redis.delete(*(keys.serving(lane) for lane in Lane))
    response = client.post("/jobs", json={"total": 2, "embeddings": True})
    assert (response.status_code, response.json["code"]) == (503, "model_not_ready")


def test_a_lane_with_a_model_of_its_own_is_asked_for_that(
    client: FlaskClient, redis: Redis
) -> None:
    announce(redis)
    other = replace(new_model("m-2"), embedding=0)
    redis.delete(keys.serving(Lane.BULK))
    pipe = redis.pipeline()
    model_versions.give_sign(pipe, Lane.BULK, "other", model_info.to_json(other), _now(redis))
    pipe.execute()
    response = client.post("/jobs", json={"total": 2, "embeddings": True})
    assert "The model m-2 has no embedding" in response.json["detail"]


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_workers_learn_how_many_numbers_a_job_gets(
    client: FlaskClient, redis: Redis, jobs: JobRecords, asking: dict[str, Any]
) -> None:
    announce(redis)
    response = send(client, asking)
    assert response.status_code in (201, 202), response.text
    job_id = response.json.get("id") or response.json["job"]["id"]
    if "json" in asking:
        parts = {"files": [(io.BytesIO(picture(k)), "a.jpg") for k in range(2)]}
        assert client.put(f"/jobs/{job_id}/parts/0", data=parts).status_code == 201
    job = jobs.reader.get(job_id)
    assert job.embeddings == SIZE
    [work] = jobs.parts.start([PartRef(job_id, 0, job.total)], job.lane, "m-1")
    assert work.embeddings == SIZE


def test_the_model_info_has_the_embedding_and_the_thresholds(
    client: FlaskClient, redis: Redis
) -> None:
    more = {"activation": "sigmoid", "threshold": 0.5, "thresholds": {"cat": 0.75}, "embedding": 4}
    model_info.announce(redis, replace(new_model("m-1"), **more))
    info = client.get("/api/v1/model/info").json
    assert {name: info[name] for name in more} == more


def test_json_lines_have_them_and_no_other_answer(
    client: FlaskClient, redis: Redis, jobs: JobRecords
) -> None:
    announce(redis)
    job_id = accept(client, 0, 1, 2)
    done = replace(SUCCESS, embedding=VECTOR)
    commit(redis, jobs, job_id, [done, SUCCESS, FAILURE])
    lines = client.get(f"/jobs/{job_id}/results?format=jsonl").text.splitlines()
    assert [json.loads(line).get("embedding") for line in lines] == [TEXT, None, None]
    numbers = np.frombuffer(base64.b64decode(json.loads(lines[0])["embedding"]), "<f2")
    assert numbers.tolist() == np.frombuffer(VECTOR, "<f2").tolist()
    for address in ("", "/results", "/results?format=csv", "/events"):
        text = client.get(f"/jobs/{job_id}{address}").text
        assert TEXT not in text and '"embedding"' not in text, address


def test_classify_answers_with_the_embedding(
    client: FlaskClient, redis: Redis, jobs: JobRecords
) -> None:
    announce(redis)
    done = replace(SUCCESS, embedding=VECTOR)

    def work() -> None:
        wait_until(lambda: redis.keys("part:*"))
        [key] = redis.keys("part:*")
        job_id = key.decode().split(":")[1]
        pipe = redis.pipeline(transaction=False)
        jobs.parts.commit(pipe, PartRef(job_id, 0, 1), Lane.INTERACTIVE, {0: done})
        pipe.execute()

    worker = threading.Thread(target=work)
    worker.start()
    answer = client.post("/api/v1/classify?embeddings=true&wait=10", data=picture(0)).json
    worker.join()
    assert answer["embedding"] == TEXT and answer["label"] == "peacock"


def test_an_answer_without_the_option_has_no_such_field(
    client: FlaskClient, redis: Redis, jobs: JobRecords
) -> None:
    announce(redis)
    learn(redis, jobs, 0, embedding=VECTOR)
    answer = client.post("/api/v1/classify", data=picture(0)).json
    assert answer["cache_hit"] and "embedding" not in answer
    answer = client.post("/api/v1/classify?embeddings=true", data=picture(0)).json
    assert answer["cache_hit"] and answer["embedding"] == TEXT


def learn(redis: Redis, jobs: JobRecords, index: int, embedding: bytes = b"") -> None:
    pipe = redis.pipeline()
    outcome = replace(SUCCESS, embedding=embedding)
    ResultCache(redis, ttl_seconds=60).put(pipe, {digest(index): outcome})
    pipe.execute()


def test_an_answer_of_the_cache_without_an_embedding_does_not_count(
    client: FlaskClient, redis: Redis, jobs: JobRecords
) -> None:
    announce(redis)
    learn(redis, jobs, 0)
    learn(redis, jobs, 1, embedding=VECTOR)
    digests = [digest(0), digest(1)]
    for asked, known in ((False, [0, 1]), (True, [1])):
        body = {"total": 2, "embeddings": asked, "digests": digests}
        opened = client.post("/jobs", json=body).json
        assert opened["known"] == known
    job_id = opened["job"]["id"]
    entries = [{"name": "a", "digest": each} for each in digests]
    put = client.put(f"/jobs/{job_id}/parts/0", data={"items": json.dumps(entries)})
    assert (put.json["code"], put.json["indexes"]) == ("images_needed", [0])
    entries[0] = {"name": "a"}
    data = {"items": json.dumps(entries), "files": [(io.BytesIO(picture(0)), "a.jpg")]}
    assert client.put(f"/jobs/{job_id}/parts/0", data=data).status_code == 201
    first, second = jobs.reader.items(job_id, 0, 2)
    assert first.outcome is None
    assert second.outcome and second.outcome.embedding == VECTOR


def test_the_option_is_part_of_an_idempotency_key(client: FlaskClient, redis: Redis) -> None:
    announce(redis)
    headers = {"Idempotency-Key": "k"}
    plain, asking = {"total": 2}, {"total": 2, "embeddings": True}
    first = client.post("/jobs", json=plain, headers=headers).json["job"]["id"]
    assert client.post("/jobs", json=plain, headers=headers).json["job"]["id"] == first
    again = client.post("/jobs", json=asking, headers=headers)
    assert again.json["code"] == "idempotency_key_reused"


def test_admission_asks_for_the_room_of_the_numbers(client: FlaskClient, redis: Redis) -> None:
    announce(redis, embedding=100_000)
    used = redis.info("memory")["used_memory"]
    with memory_limit(redis, used + 3_000_000):
        assert client.post("/jobs", data=form(*range(20))).status_code == 202
        refused = client.post("/jobs", data=form(*range(20, 40), embeddings="true"))
        assert (refused.status_code, refused.json["code"]) == (503, "overloaded")

"""A POST with an `Idempotency-Key` that is sent again, without a worker."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from flask_openapi import OpenAPI
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from shared import keys
from shared.records.job_records import JobRecords
from shared.records.work import MAX_ATTEMPTS
from shared.jobs import ItemState, Lane, Outcome, PartRef, Prediction
from tests.support.servers.memory_limit import memory_limit
from web.http import api_keys
from web.http.idempotency import Key
from web.submit import admission

JPEG = b"\xff\xd8\xff\xe0 not a whole picture"
SUCCESS = Outcome(
    state=ItemState.SUCCEEDED, predictions=(Prediction(1, "cat", 0.9),), model_version="m-1"
)

Ask = Callable[..., TestResponse]


def files(client: FlaskClient, key: str, *, tail: bytes = b"", **fields: Any) -> TestResponse:
    sent = [(io.BytesIO(JPEG + tail), "a.jpg"), (io.BytesIO(JPEG), "b.jpg")]
    data = {"files": sent, **fields}
    return client.post("/jobs", data=data, headers={"Idempotency-Key": key})


def opening(client: FlaskClient, key: str, *, tail: bytes = b"", **fields: Any) -> TestResponse:
    body = {"total": 40 + len(tail), **fields}
    return client.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": key})


def classify(client: FlaskClient, key: str, *, tail: bytes = b"", **fields: Any) -> TestResponse:
    headers = {"Idempotency-Key": key}
    options = "&".join(f"{name}={value}" for name, value in {"wait": 0, **fields}.items())
    return client.post(f"/api/v1/classify?{options}", data=JPEG + tail, headers=headers)


ALL = pytest.mark.parametrize("ask", [files, opening, classify])


def job_id(response: TestResponse) -> str:
    body: dict[str, Any] = response.json
    return str(body.get("job", body)["id"])


def commit(redis: Redis, jobs: JobRecords, ref: PartRef, lane: Lane) -> None:
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, ref, lane, dict.fromkeys(range(ref.images), SUCCESS))
    pipe.execute()


@ALL
def test_the_same_request_again_is_the_same_job(
    client: FlaskClient, redis: Redis, ask: Ask
) -> None:
    first, again = ask(client, "k"), ask(client, "k")
    assert first.status_code == again.status_code and first.json == again.json
    assert first.headers["Location"] == again.headers["Location"]
    assert len(redis.keys("job:*")) == 1
    assert job_id(ask(client, "other")) != job_id(first)


@ALL
def test_another_request_with_the_same_key_is_refused(
    client: FlaskClient, redis: Redis, ask: Ask
) -> None:
    ask(client, "k").close()
    others = ask(client, "k", tail=b"x"), ask(client, "k", top_k=3), ask(client, "k", min_score=0.5)
    for response in others:
        assert (response.status_code, response.json["code"]) == (422, "idempotency_key_reused")
    assert len(redis.keys("job:*")) == 1


def test_an_option_that_is_not_used_leaves_the_claims_of_earlier_releases() -> None:
    fingerprint = hashlib.sha256(b'["call", 5, "a.jpg"]').hexdigest()
    key = Key("anna", "call", "k")
    assert key.claim(5, "a.jpg", min_score=0).fingerprint == fingerprint
    assert key.claim(5, "a.jpg", min_score=0.5).fingerprint != fingerprint


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 2000])
def test_claims_of_many_digests_are_those_of_earlier_releases(count: int) -> None:
    asked = ["bulk", 5, [f"é{k}" for k in range(count)], None, [("a.jpg", "b")]]
    key = Key("anna", "call", "k")
    claim = key.claim(*asked, thumbnails=True, embeddings=64)
    options = [{"embeddings": 64, "thumbnails": True}, {"embeddings": 64}]
    assert [claim.fingerprint, claim.without_thumbnails] == [
        hashlib.sha256(json.dumps(["call", *asked, each]).encode()).hexdigest() for each in options
    ]


def test_others_run_while_a_claim_of_many_digests_is_made() -> None:
    rounds = 0

    def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            gevent.sleep(0.001)

    counter = gevent.spawn(count)
    Key("anna", "call", "k").claim(["0" * 64] * 500_000, thumbnails=True)
    counter.kill()
    assert rounds > 10


def test_another_call_with_the_same_key_is_refused(client: FlaskClient) -> None:
    files(client, "k").close()
    assert opening(client, "k").json["code"] == "idempotency_key_reused"


@ALL
def test_requests_at_the_same_time_make_one_job(
    make_app: Callable[..., OpenAPI], redis: Redis, ask: Ask
) -> None:
    app, together, answers = make_app(), threading.Barrier(8), list[TestResponse]()

    def send() -> None:
        together.wait()
        answers.append(ask(app.test_client(), "k"))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job_id(each) for each in answers}) == 1, [each.text for each in answers]
    assert len(redis.keys("job:*")) == 1
    lanes = [lane for lane in Lane if redis.llen(lane)]
    assert sum(redis.zcard(keys.outstanding(lane)) for lane in Lane) == len(lanes)


def test_the_second_answer_has_the_present_state_of_the_job(
    client: FlaskClient, redis: Redis, jobs: JobRecords
) -> None:
    made = files(client, "k").json
    commit(redis, jobs, PartRef(made["id"], 0, 2), Lane.BULK)
    again = files(client, "k")
    assert (again.status_code, again.json["state"]) == (202, "completed")


def test_a_classification_that_is_sent_again_waits_for_the_same_picture(
    make_app: Callable[..., OpenAPI], redis: Redis, jobs: JobRecords
) -> None:
    app = make_app()
    ref = PartRef(job_id(classify(app.test_client(), "k")), 0, 1)
    threading.Timer(0.2, commit, [redis, jobs, ref, Lane.INTERACTIVE]).start()
    waited = classify(app.test_client(), "k", wait=10)
    assert waited.status_code == 200
    assert waited.json["predictions"][0]["class_name"] == "cat"
    assert classify(app.test_client(), "k").json == waited.json
    assert len(redis.keys("job:*")) == 1


def test_a_full_lane_answers_a_request_that_it_has_accepted_before(
    make_app: Callable[..., OpenAPI],
) -> None:
    client = make_app(max_outstanding_bulk=2).test_client()
    made = files(client, "k")
    assert files(client, "k", lane="bulk").json == made.json
    assert files(client, "new").status_code == 503


def test_a_key_lives_as_long_as_its_job(
    client: FlaskClient, redis: Redis, jobs: JobRecords
) -> None:
    made = files(client, "k").json
    claim, job = keys.idempotency("", "k"), keys.job(made["id"])
    assert abs(redis.ttl(claim) - redis.ttl(job)) <= 1
    commit(redis, jobs, PartRef(made["id"], 0, 2), Lane.BULK)
    assert abs(redis.ttl(claim) - redis.ttl(job)) <= 1

    redis.delete(job)  # it has expired, so its key is free
    renewed = files(client, "k")
    assert renewed.status_code == 202 and renewed.json["id"] != made["id"]
    assert files(client, "k").json["id"] == renewed.json["id"]


def test_two_owners_may_use_the_same_key(make_app: Callable[..., OpenAPI], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("".join(f"{api_keys.line(n, n)}\n" for n in "ab"))
    client = make_app(api_keys_file=tmp_path / "keys").test_client()
    made = []
    for name in "abab":
        headers = {"Idempotency-Key": "k", "X-API-Key": name}
        made.append(client.post("/jobs", json={"total": 1}, headers=headers).json["job"]["id"])
    assert made[0] == made[2] != made[1] == made[3]


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256])
def test_a_key_that_is_empty_or_long_or_not_visible_ascii_is_refused(
    client: FlaskClient, key: str
) -> None:
    response = opening(client, key)
    assert (response.status_code, response.json["code"]) == (422, "invalid_request")


def test_a_refused_request_leaves_its_key_free(
    client: FlaskClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_FRESH_FOR_REFUSAL_SECONDS", 0)
    with memory_limit(redis, 1):
        assert files(client, "k").status_code == 503
    assert files(client, "k", tail=b"other").status_code == 202


def test_a_dead_letter_is_tried_once_with_one_key(
    client: FlaskClient, redis: Redis, jobs: JobRecords
) -> None:
    made = client.post("/jobs", data={"files": (io.BytesIO(JPEG), "a.jpg")}).json
    recovery = jobs.recovery
    for ref in (PartRef(made["id"], 0, 1), PartRef(made["id"], 0, 1, 0)):
        for _ in range(MAX_ATTEMPTS + 1):
            jobs.parts.start([ref], Lane.INTERACTIVE)
        recovery.recover(Lane.INTERACTIVE)
    [letter] = client.get("/api/v1/dead-letters").json["dead_letters"]

    def retry(key: str) -> TestResponse:
        path = f"/api/v1/dead-letters/{letter['id']}/retry"
        return client.post(path, headers={"Idempotency-Key": key})

    first, again = retry("k"), retry("k")
    assert (first.status_code, first.json["id"]) == (202, made["id"])
    assert (again.status_code, again.json) == (202, first.json)
    assert retry("other").status_code == 404


def test_every_post_documents_its_key_or_how_to_repeat_it(client: FlaskClient) -> None:
    for name, path in client.get("/openapi.json").json["paths"].items():
        if "post" in path:
            keyed = "Idempotency-Key" in [each["name"] for each in path["post"]["parameters"]]
            assert keyed != name.endswith("/purge"), name
            said = "ignores one" in path["post"].get("description", "")
            assert said != keyed, name

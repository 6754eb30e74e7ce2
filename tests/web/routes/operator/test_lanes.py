"""The operator pauses, drains, closes and purges lanes. No worker runs here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from io import BytesIO

import pytest
from flask_openapi import OpenAPI
from redis import Redis

from shared import keys
from shared.operation import purge as purge_module
from shared.serving.model_info import to_json
from tests.support.stored_jobs import new_model
from tests.web.routes.operator.conftest import JPEG, Caller
from web.routes.operator import lanes as lanes_module

MODEL = to_json(new_model())


def set_state(root: Caller, lane: str, state: str) -> None:
    answer = root("PUT", f"/operator/lanes/{lane}", json={"state": state, "reason": "a test"})
    assert (answer.status_code, answer.json["state"]) == (200, state)


def test_all_lanes_are_open_until_the_operator_decides(root: Caller) -> None:
    lanes = root("GET", "/operator/lanes").json["lanes"]
    assert {name: lane["state"] for name, lane in lanes.items()} == {
        "interactive": "open",
        "bulk": "open",
    }
    assert lanes["bulk"]["since"] is None


def test_the_state_says_who_changed_it_and_why(root: Caller) -> None:
    set_state(root, "bulk", "paused")
    bulk = root("GET", "/operator/lanes").json["lanes"]["bulk"]
    assert (bulk["state"], bulk["by"], bulk["reason"]) == ("paused", "root", "a test")


@pytest.mark.parametrize(
    "state, accepted", [("open", True), ("paused", True), ("draining", False), ("closed", False)]
)
def test_a_lane_accepts_or_refuses_as_its_state_says(
    root: Caller, alice: Caller, state: str, accepted: bool
) -> None:
    opened = alice("POST", "/jobs", json={"total": 2}).headers["Location"]
    part = opened.removeprefix("/api/v1") + "/parts/0"
    set_state(root, "bulk", state)
    calls = {
        "job": lambda: alice("POST", "/jobs?lane=bulk", data=JPEG),
        "open": lambda: alice("POST", "/jobs", json={"total": 2}),
        "part": lambda: alice("PUT", part, data={"files": [(BytesIO(JPEG), n) for n in "ab"]}),
    }
    for name, call in calls.items():
        answer = call()
        assert (answer.json.get("code") == "lane_closed") is not accepted, (name, answer.json)
        if not accepted:
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert alice("POST", "/classify?wait=0", data=JPEG).status_code == 202, "the other lane"
    set_state(root, "bulk", "open")
    assert alice("POST", "/jobs", json={"total": 2}).status_code == 201


@pytest.mark.parametrize("state", ["paused", "draining", "closed"])
def test_health_and_readiness_name_a_lane_that_is_not_open(
    root: Caller, redis: Redis, state: str
) -> None:
    redis.set(keys.MODEL, MODEL)
    assert root("GET", "/health").json["status"] == "ok"
    set_state(root, "bulk", state)
    health = root("GET", "/health").json
    assert (health["status"], health["lanes"]["bulk"]["state"]) == (f"bulk is {state}", state)
    ready = root.client.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, f"bulk is {state}")
    set_state(root, "bulk", "open")
    assert root.client.get("/readyz").json["status"] == "ok"


def test_other_web_processes_obey_when_they_read_the_load_again(
    root: Caller, make_app: Callable[..., OpenAPI]
) -> None:
    other = make_app()
    admission = other.extensions["backend"].admission
    assert other.test_client().post("/api/v1/classify?wait=0", data=JPEG).status_code == 202
    set_state(root, "interactive", "closed")
    admission._read_at = -math.inf  # a second has passed
    refused = other.test_client().post("/api/v1/classify?wait=0", data=JPEG)
    assert (refused.status_code, refused.json["code"]) == (503, "lane_closed")


def test_a_wrong_state_or_lane_is_refused(root: Caller) -> None:
    assert root("PUT", "/operator/lanes/bulk", json={"state": "off"}).status_code == 422
    assert root("PUT", "/operator/lanes/night", json={"state": "open"}).status_code == 422
    answer = root("PUT", "/operator/lanes/bulk", json={"state": "open", "reasons": "x"})
    assert answer.json["code"] == "unknown_field"


def test_purge_cancels_the_jobs_of_one_lane_and_frees_their_memory(
    root: Caller, alice: Caller, bob: Caller, redis: Redis
) -> None:
    purged = [alice.submit(2), bob.submit(40)]
    opened = bob("POST", "/jobs", json={"total": 2}).headers["Location"].rpartition("/")[2]
    kept = alice.submit(lane="interactive")
    answer = root("POST", "/operator/lanes/bulk/purge", json={}).json
    assert (answer["cancelled"], answer["more"]) == (3, False)
    states = {
        each: root("GET", f"/operator/jobs/{each}").json["state"]
        for each in (*purged, opened, kept)
    }
    assert states == {**dict.fromkeys([*purged, opened], "cancelled"), kept: "queued"}
    assert not redis.zcard("outstanding:bulk") and redis.get("outstanding_images:bulk") == b"0"
    assert int(redis.hget(keys.HELD, "total") or 0) == len(JPEG) + 1


def test_purge_goes_on_where_a_call_ended(
    root: Caller, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        alice.submit()
    seconds = itertools.count()  # each job takes one
    monkeypatch.setattr(purge_module, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(lanes_module, "_PURGE_SECONDS", 2.0)
    answers = [root("POST", "/operator/lanes/bulk/purge", json={}).json for _ in range(2)]
    assert [(each["cancelled"], each["more"]) for each in answers] == [(2, True), (1, False)]


def test_purge_leaves_jobs_that_came_after_its_first_call(
    root: Caller, alice: Caller, redis: Redis
) -> None:
    first = alice.submit()
    made_before = root("POST", "/operator/lanes/interactive/purge", json={}).json["made_before"]
    later = alice.submit()
    body = {"made_before": made_before}
    assert root("POST", "/operator/lanes/bulk/purge", json=body).json["cancelled"] == 1
    assert root("GET", f"/operator/jobs/{first}").json["state"] == "cancelled"
    assert root("GET", f"/operator/jobs/{later}").json["state"] == "queued"


def test_purge_runs_again_although_the_key_is_the_same(root: Caller, alice: Caller) -> None:
    headers = {"Idempotency-Key": "night"}
    for _ in range(2):
        alice.submit()
        answer = root("POST", "/operator/lanes/bulk/purge", json={}, headers=headers).json
        assert answer["cancelled"] == 1


def test_purge_of_what_was_made_before_1970_cancels_nothing(root: Caller, alice: Caller) -> None:
    alice.submit()
    answer = root("POST", "/operator/lanes/bulk/purge", json={"made_before": 0}).json
    assert answer == {"cancelled": 0, "more": False, "made_before": 0}


@pytest.mark.parametrize("time", ["1e999", "-1e999", "NaN", "-1", "false", '"1"'])
def test_purge_refuses_a_time_that_is_none(root: Caller, time: str) -> None:
    """No JSON could name it in the answer."""
    body = f'{{"made_before": {time}}}'
    answer = root("POST", "/operator/lanes/bulk/purge", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request"), answer.json


def test_purge_releases_what_a_dead_process_left_after_cancelling(
    root: Caller, alice: Caller, redis: Redis
) -> None:
    job_id = alice.submit(2)
    redis.hset(keys.job(job_id), "state", "cancelled")  # it died before it released the parts
    assert root("POST", "/operator/lanes/bulk/purge", json={}).json["cancelled"] == 0
    assert not redis.zcard("outstanding:bulk") and redis.hget(keys.HELD, "total") == b"0"

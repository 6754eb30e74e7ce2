"""The operator lists, reads and cancels the jobs of all clients."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from shared import keys
from tests.conftest import Clock
from tests.web.routes.operator.conftest import Caller
from web.routes.operator import jobs as jobs_module


def pages(root: Caller, query: str) -> list[list[str]]:
    """The ids of each page."""
    listed: list[list[str]] = []
    before = ""
    while True:
        answer: Any = root("GET", f"/operator/jobs?{query}{before}").json
        listed.append([job["id"] for job in answer["jobs"]])
        if answer["next_before"] is None:
            return listed
        before = f"&before={answer['next_before']}"


@pytest.fixture
def submitted(alice: Caller, bob: Caller, clock: Clock) -> list[str]:
    """Ids of five jobs, oldest first. The last two were made at the same moment."""
    made = []
    for who in (alice, bob, alice, bob, alice):
        clock.now += 1 if len(made) < 4 else 0
        made.append(who.submit())
    return made


def test_the_jobs_of_all_clients_are_listed_newest_first(
    root: Caller, submitted: list[str]
) -> None:
    answer = root("GET", "/operator/jobs").json
    listed = [job["id"] for job in answer["jobs"]]
    assert listed == sorted(submitted[3:], reverse=True) + submitted[2::-1]
    owners = {job["id"]: job["owner"] for job in answer["jobs"]}
    assert [owners[each] for each in submitted] == ["alice", "bob", "alice", "bob", "alice"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_pages_have_each_job_once(root: Caller, submitted: list[str], limit: int) -> None:
    listed = pages(root, f"limit={limit}")
    assert [each for page in listed for each in page] == pages(root, "limit=100")[0]
    assert all(len(page) == limit for page in listed[: 5 // limit])


def test_a_page_can_be_of_one_state_lane_or_owner(
    root: Caller, alice: Caller, submitted: list[str]
) -> None:
    single = alice.submit(lane="interactive")
    root("DELETE", f"/operator/jobs/{submitted[1]}")
    assert pages(root, "state=cancelled") == [[submitted[1]]]
    assert pages(root, "lane=interactive") == [[single]]
    assert set(pages(root, "owner=bob")[0]) == {submitted[1], submitted[3]}
    assert pages(root, "owner=nobody") == [[]]


def test_one_call_reads_a_limited_number_of_jobs(
    root: Caller, submitted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_MOST_READ", 2)
    assert pages(root, "state=completed") == [[], [], []]


def test_expired_jobs_are_left_out(root: Caller, redis: Redis, submitted: list[str]) -> None:
    redis.delete(keys.job(submitted[2]))
    assert submitted[2] not in pages(root, "limit=2")[0] + pages(root, "limit=2")[1]
    assert len(pages(root, "limit=100")[0]) == 4


def test_jobs_that_an_earlier_release_has_stored_are_listed_too(
    root: Caller, redis: Redis, submitted: list[str]
) -> None:
    redis.delete(keys.OWNERS)
    assert len(pages(root, "limit=100")[0]) == 5


@pytest.mark.parametrize("before", ["nonsense", "nan:1", "inf:1", "-inf:1", "1e999:1"])
def test_a_wrong_page_is_refused(root: Caller, alice: Caller, before: str) -> None:
    alice.submit()
    answer = root("GET", f"/operator/jobs?before={before}")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")


def test_the_operator_reads_and_cancels_the_job_of_a_client(
    root: Caller, alice: Caller, redis: Redis
) -> None:
    job_id = alice.submit(3)
    read = root("GET", f"/operator/jobs/{job_id}").json
    assert (read["owner"], read["counts"]["total"]) == ("alice", 3)
    assert root("DELETE", f"/operator/jobs/{job_id}").json["state"] == "cancelled"
    assert alice("GET", f"/jobs/{job_id}").json["state"] == "cancelled"
    assert not redis.zcard("outstanding:bulk") and redis.hget(keys.HELD, "total") == b"0"
    assert root("DELETE", "/operator/jobs/none").json["code"] == "job_not_found"

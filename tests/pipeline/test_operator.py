"""An operator pauses, drains, closes and purges a lane whose worker is a real process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.local_service import LocalService
from tests.support.waiting import wait_until

OBEYED = "the lane bulk is {state}: this worker takes {parts}"


class Operator:
    def __init__(self, service: LocalService, http: httpx.Client) -> None:
        self.service = service
        self.http = http

    def set_state(self, state: str) -> None:
        """Set the state of the lane `bulk`, and wait until its worker says that it obeys."""
        works = state in ("open", "draining")
        line = OBEYED.format(state=state, parts="parts" if works else "no parts")
        before = self.service.log("bulk").count(line)
        now = self.lane()["state"]
        changes = works is not (now in ("open", "draining"))
        answer = self.http.put("/api/v1/operator/lanes/bulk", json={"state": state})
        assert answer.status_code == 200, answer.text
        if changes:
            until(lambda: self.service.log("bulk").count(line) > before)

    def lane(self) -> dict[str, Any]:
        lane: dict[str, Any] = self.http.get("/api/v1/operator/lanes").json()["lanes"]["bulk"]
        return lane

    def submit(self, pictures: list[Path], lane: str = "bulk") -> str:
        files = [("files", (path.name, path.read_bytes() + salt())) for path in pictures]
        answer = self.http.post(f"/jobs?lane={lane}", files=files)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str, wait: float = 0) -> dict[str, Any]:
        job: dict[str, Any] = self.http.get(f"/jobs/{job_id}?wait={wait}").json()
        return job


def salt() -> bytes:
    """Bytes after the end of a JPEG, which make it new to the result cache."""
    return str(time.time_ns()).encode()


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for a condition. The time only ends a test that would hang."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met"
        time.sleep(0.02)


@pytest.fixture
def operator(service: LocalService, http: httpx.Client) -> Iterator[Operator]:
    operator = Operator(service, http)
    yield operator
    operator.set_state("open")


def test_a_paused_lane_keeps_what_it_accepts_until_it_is_open_again(
    operator: Operator, pictures: list[Path]
) -> None:
    running = operator.submit(pictures)
    operator.set_state("paused")
    waiting = operator.submit(pictures[:3])
    redis = operator.service.redis()
    # What was in work has ended, and what was prefetched is in the queue again.
    until(lambda: not redis.hlen("unacked"))
    counts = operator.job(running)["counts"]
    # The other lane works, for longer than the worker of this one needs to notice a message.
    for picture in pictures[:5]:
        done = operator.job(operator.submit([picture], "interactive"), wait=30)
        assert done["state"] == "completed"
    assert operator.job(waiting)["state"] == "queued"
    assert operator.job(running)["counts"] == counts
    assert operator.lane()["outstanding_images"] >= 3

    line = OBEYED.format(state="paused", parts="no parts")
    before = operator.service.log("bulk").count(line)
    with operator.service.may_die("bulk"):
        operator.service.stop("bulk")
        operator.service.start_worker("bulk")
        operator.service.await_ready()
        until(lambda: operator.service.log("bulk").count(line) == before + 1)
        assert operator.job(waiting)["state"] == "queued", "also after a restart of the worker"

    operator.set_state("open")
    for job_id, total in ((running, len(pictures)), (waiting, 3)):
        done = operator.job(job_id, wait=50)
        assert (done["state"], done["counts"]["succeeded"]) == ("completed", total)
    redis.close()


def test_a_lane_that_drains_refuses_new_work_and_ends_the_rest(
    operator: Operator, pictures: list[Path]
) -> None:
    operator.set_state("paused")
    job_id = operator.submit(pictures[:40])
    operator.set_state("draining")
    refused = operator.http.post("/jobs?lane=bulk", files={"files": ("a.jpg", b"\xff\xd8\xff")})
    assert (refused.status_code, refused.json()["code"]) == (503, "lane_closed")
    assert operator.job(job_id, wait=50)["counts"]["succeeded"] == 40
    until(lambda: operator.lane()["outstanding_parts"] == 0)


def test_a_purged_lane_is_empty_and_works_again(operator: Operator, pictures: list[Path]) -> None:
    operator.set_state("closed")
    operator.set_state("paused")
    job_ids = [operator.submit(pictures[:40]), operator.submit(pictures[:2])]
    purged = operator.http.post("/api/v1/operator/lanes/bulk/purge", json={}).json()
    # Other tests may have left open jobs in this lane.
    assert purged["cancelled"] >= 2 and not purged["more"]
    assert [operator.job(each)["state"] for each in job_ids] == ["cancelled"] * 2
    assert operator.lane()["outstanding_parts"] == 0
    operator.set_state("open")
    job_id = operator.submit(pictures[:3])
    assert operator.job(job_id, wait=50)["counts"]["succeeded"] == 3
    assert operator.job(job_ids[0])["counts"]["succeeded"] == 0


def test_the_operator_sees_what_each_worker_runs(operator: Operator) -> None:
    model = operator.http.get("/api/v1/model/info").json()

    def reports() -> list[dict[str, Any]]:
        workers: list[dict[str, Any]] = operator.http.get("/api/v1/operator/workers").json()[
            "workers"
        ]
        return workers

    # The service is ready as soon as one worker has loaded the model.
    wait_until(lambda: all(each["model_version"] for each in reports()))
    workers = reports()
    assert [each["lane"] for each in workers] == ["interactive", "bulk"]
    for each in workers:
        assert (each["model_version"], each["engine"]) == (model["version"], model["engine"])
        assert each["process"] == operator.service.processes[each["lane"]].pid
        assert each["pool_processes"] == 2 and each["started_at"] < each["seen_at"]

"""Jobs that are filled in parts, from their opening to the labels."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from shared.jobs import PART_SIZE
from tests.pipeline.jobs import assert_nothing_is_left, ended
from tests.support.local_service import LocalService


def open_job(http: httpx.Client, pictures: list[bytes], digests: bool = False) -> dict[str, Any]:
    fields: dict[str, Any] = {"total": len(pictures), "top_k": 1}
    if digests:
        fields["digests"] = [hashlib.sha256(picture).hexdigest() for picture in pictures]
    opened: dict[str, Any] = http.post("/jobs", json=fields).raise_for_status().json()
    return opened


def put(http: httpx.Client, job_id: str, number: int, pictures: list[bytes]) -> int:
    first = number * PART_SIZE
    part = pictures[first : first + PART_SIZE]
    files = [("files", (f"{first + k}.jpg", picture)) for k, picture in enumerate(part)]
    return http.put(f"/jobs/{job_id}/parts/{number}", files=files).status_code


@pytest.fixture
def many(pictures: list[Path]) -> list[bytes]:
    """A hundred real pictures with new bytes at their ends, so that none is cached."""
    tail = b"%d" % time.time_ns()
    return [picture.read_bytes() + tail for picture in pictures][:100]


def test_parts_in_any_order_and_twice_give_every_picture_one_result(
    http: httpx.Client, many: list[bytes]
) -> None:
    job_id = open_job(http, many)["job"]["id"]
    order = [n for n in range(4) for _ in range(2)]
    random.Random(7).shuffle(order)
    assert sorted(put(http, job_id, n, many) for n in order) == [200] * 4 + [201] * 4
    job = ended(http, job_id)
    assert (job["state"], job["counts"]["succeeded"]) == ("completed", 100)
    items = http.get(f"/jobs/{job_id}/results?limit=1000").json()["items"]
    assert [item["name"] for item in items] == [f"{k}.jpg" for k in range(100)]
    assert all(len(item["predictions"]) == 1 for item in items)

    again = open_job(http, many, digests=True)
    assert again["known"] == list(range(100))
    for number in range(4):
        part = many[number * PART_SIZE : (number + 1) * PART_SIZE]
        entries = [{"name": "", "digest": hashlib.sha256(each).hexdigest()} for each in part]
        # Without a file in the form httpx would send another kind of body.
        form = {"items": (None, json.dumps(entries))}
        answer = http.put(f"/jobs/{again['job']['id']}/parts/{number}", files=form)
        assert answer.status_code == 201, answer.text
    repeated = http.get(f"/jobs/{again['job']['id']}/results?limit=1000").json()
    assert repeated["job"]["state"] == "completed" and repeated["job"]["counts"]["cached"] == 100
    labels = [item["predictions"] for item in items]
    assert [item["predictions"] for item in repeated["items"]] == labels


def test_parts_may_be_bytes_alone_also_in_chunks(http: httpx.Client, many: list[bytes]) -> None:
    def pieces(pictures: list[bytes]) -> Iterator[bytes]:
        entries = [{"name": f"{k}", "size": len(each)} for k, each in enumerate(pictures)]
        yield json.dumps(entries).encode() + b"\n"
        for each in pictures:
            yield each[:1000]
            yield each[1000:]

    opened = open_job(http, many[:35])
    kind, _ = opened["part_types"]
    for number, part in enumerate((many[:PART_SIZE], many[PART_SIZE:35])):
        body = pieces(part)
        answer = http.put(
            f"/jobs/{opened['job']['id']}/parts/{number}",
            content=b"".join(body) if number == 0 else body,
            headers={"Content-Type": kind},
        )
        assert answer.status_code == 201, answer.text
    job = ended(http, opened["job"]["id"])
    assert (job["state"], job["counts"]["succeeded"]) == ("completed", 35)
    items = http.get(f"/jobs/{job['id']}/results").json()["items"]
    expected = http.post("/jobs", files=[("files", each) for each in many[:35]]).json()
    ended(http, expected["id"])
    same = http.get(f"/jobs/{expected['id']}/results").json()["items"]
    assert [each["predictions"][0] for each in same] == [each["predictions"][0] for each in items]


def test_a_job_that_is_cancelled_while_it_runs_leaves_nothing_behind(
    http: httpx.Client, service: LocalService, many: list[bytes]
) -> None:
    job_id = open_job(http, many * 3)["job"]["id"]
    for number in range(6):
        put(http, job_id, number, [picture + b"x" * number for picture in many * 3])
    http.delete(f"/jobs/{job_id}").raise_for_status()
    job = ended(http, job_id)
    counts = job["counts"]
    assert job["state"] == "cancelled" and counts["queued"] == 0 and counts["cancelled"] > 100
    assert counts["succeeded"] + counts["cancelled"] == 300
    assert_nothing_is_left(service)
    assert http.get(f"/jobs/{job_id}").json() == job


def test_a_manifest_of_100_000_digests_takes_few_round_trips_and_little_memory(
    http: httpx.Client, service: LocalService
) -> None:
    web = Path(f"/proc/{service.web_process()}")
    digests = [hashlib.sha256(b"%d" % k).hexdigest() for k in range(100_000)]
    redis = service.redis()
    version = http.get("/api/v1/model/info").json()["version"]
    pipe = redis.pipeline(transaction=False)
    for digest in digests[::2]:
        pipe.set(f"result:{version}:{digest}", "x" * 1000, ex=60)
    pipe.execute()
    body = json.dumps({"total": len(digests), "digests": digests})

    before = _status(web, "VmRSS")
    (web / "clear_refs").write_text("5")  # the peak begins here
    reads = _reads(redis)
    answer = http.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    reads = _reads(redis) - reads
    peak = _status(web, "VmHWM")
    redis.delete(*(f"result:{version}:{digest}" for digest in digests[::2]))
    redis.close()

    assert answer.json()["known"] == list(range(0, 100_000, 2))
    print(f"{reads} reads, {(peak - before) / 1e6:.0f} MB")
    assert reads < 5000
    assert peak - before < 100e6


def test_a_part_of_large_pictures_takes_little_memory(
    http: httpx.Client, service: LocalService, many: list[bytes]
) -> None:
    large = [picture + bytes(4 * 2**20) for picture in many[:PART_SIZE]]
    job_id = open_job(http, large)["job"]["id"]
    web = Path(f"/proc/{service.web_process()}")
    before = _status(web, "VmRSS")
    (web / "clear_refs").write_text("5")
    assert put(http, job_id, 0, large) == 201  # 130 MB, twice the limit of other requests
    grown = _status(web, "VmHWM") - before
    http.delete(f"/jobs/{job_id}").raise_for_status()
    print(f"{grown / 1e6:.0f} MB")
    assert grown < 60e6


def _reads(redis: Redis) -> int:
    """Reads by Redis from its clients: of a round trip one, of 16 KB of a larger request one each.

    Workers that look for work in the meantime are included.
    """
    return int(redis.info("stats")["total_reads_processed"])


def _status(process: Path, field: str) -> int:
    """A field of `/proc/<pid>/status`, in bytes."""
    return 1024 * int((process / "status").read_text().partition(f"{field}:")[2].split()[0])

"""How long things are kept: results for their time, told in every answer; pictures no longer."""

from __future__ import annotations

import io
import json
import time
from typing import Any

from flask.testing import FlaskClient
from redis import Redis

from shared import keys
from shared.records.job_records import JobRecords
from shared.jobs import ItemState, Lane, Outcome, PartRef

#: Part of each picture, and of nothing else.
MARK = b"these bytes are in the picture alone"
PICTURE = b"\xff\xd8\xff\xe0" + MARK
DONE = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")


def submit(client: FlaskClient, count: int) -> dict[str, Any]:
    files = [(io.BytesIO(PICTURE + b"%d" % k), f"{k}.jpg") for k in range(count)]
    response = client.post("/jobs?lane=bulk", data={"files": files})
    assert response.status_code == 202
    job: dict[str, Any] = response.json
    return job


def commit(jobs: JobRecords, redis: Redis, job_id: str, count: int) -> None:
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, PartRef(job_id, 0, count), Lane.BULK, {k: DONE for k in range(count)})
    pipe.execute()


def values(redis: Redis) -> bytes:
    """All that Redis holds."""
    read = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"set": redis.smembers,
    }
    return repr([read[redis.type(key)](key) for key in redis.scan_iter()]).encode()  # type: ignore


def test_a_picture_is_gone_when_its_result_is_written(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = submit(client, 3)["id"]
    assert MARK in values(redis)
    commit(jobs, redis, job_id, 3)
    assert MARK not in values(redis)
    assert not redis.exists(keys.images(job_id, 0))


def test_a_picture_is_gone_when_its_job_is_cancelled(client: FlaskClient, redis: Redis) -> None:
    job_id = submit(client, 3)["id"]
    assert MARK in values(redis)
    assert client.delete(f"/jobs/{job_id}").status_code == 200
    assert MARK not in values(redis)


def test_every_answer_tells_how_long_the_results_are_kept(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    submitted = submit(client, 1)
    path = f"/jobs/{submitted['id']}"
    commit(jobs, redis, submitted["id"], 1)
    events = client.get(f"{path}/events").text
    answers = [
        submitted,
        client.post("/jobs", json={"total": 1}).json["job"],
        client.get(path).json,
        client.get(f"{path}/results").json["job"],
        *(json.loads(line[6:]) for line in events.split("\n") if line.startswith('data: {"id"')),
        client.delete(path).json,
    ]
    assert len(answers) == 7
    hour, day = 3600, 86_400  # the first is what the tests' worker keeps results for
    kept = [each["expires_at"] - time.time() for each in answers]
    assert all(hour - 10 < seconds <= hour or day - 10 < seconds <= day for seconds in kept), kept


def test_records_are_forgotten_after_their_time(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    """None without a time: what nobody reads again must not stay for ever."""
    job_id = submit(client, 40)["id"]
    for number, count in ((0, 32), (1, 8)):
        pipe = redis.pipeline(transaction=False)
        ref = PartRef(job_id, number, count)
        jobs.parts.commit(pipe, ref, Lane.BULK, {k: DONE for k in range(count)})
        pipe.execute()
    of_job = [key for key in redis.scan_iter() if job_id.encode() in key]
    assert len(of_job) >= 4
    assert all(0 < redis.ttl(key) <= 86_400 for key in of_job)

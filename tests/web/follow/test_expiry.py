"""Results are kept until a time that every answer says. Pictures are removed earlier."""

from __future__ import annotations

import io
import json
import time
from typing import Any

from flask.testing import FlaskClient
from redis import Redis

from shared import keys
from shared.records.job_records import JobRecords
from tests.web.follow.stored_jobs import SUCCESS, commit

#: Bytes of each picture that are nowhere else.
MARK = b"these bytes are in the picture alone"
PICTURE = b"\xff\xd8\xff\xe0" + MARK


def submit(client: FlaskClient, count: int) -> dict[str, Any]:
    files = [(io.BytesIO(PICTURE + b"%d" % k), f"{k}.jpg") for k in range(count)]
    response = client.post("/jobs?lane=bulk", data={"files": files})
    assert response.status_code == 202
    job: dict[str, Any] = response.json
    return job


def values(redis: Redis) -> bytes:
    """Every value in Redis."""
    read = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"set": redis.smembers,
    }
    return repr([read[redis.type(key)](key) for key in redis.scan_iter()]).encode()  # type: ignore


def test_a_picture_is_removed_when_its_result_is_written(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    job_id = submit(client, 3)["id"]
    assert MARK in values(redis)
    commit(jobs, redis, job_id, dict.fromkeys(range(3), SUCCESS))
    assert MARK not in values(redis)
    assert not redis.exists(keys.images(job_id, 0))


def test_a_picture_is_removed_when_its_job_is_cancelled(client: FlaskClient, redis: Redis) -> None:
    job_id = submit(client, 3)["id"]
    assert MARK in values(redis)
    assert client.delete(f"/jobs/{job_id}").status_code == 200
    assert MARK not in values(redis)


def test_every_answer_says_until_when_the_results_are_kept(
    client: FlaskClient, jobs: JobRecords, redis: Redis
) -> None:
    submitted = submit(client, 1)
    path = f"/jobs/{submitted['id']}"
    commit(jobs, redis, submitted["id"], {0: SUCCESS})
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


def test_records_expire(client: FlaskClient, jobs: JobRecords, redis: Redis) -> None:
    """Every key of a job has an expiry time."""
    job_id = submit(client, 40)["id"]
    commit(jobs, redis, job_id, dict.fromkeys(range(40), SUCCESS))
    of_job = [key for key in redis.scan_iter() if job_id.encode() in key]
    assert len(of_job) >= 4
    assert all(0 < redis.ttl(key) <= 86_400 for key in of_job)

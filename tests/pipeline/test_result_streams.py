"""Streams of results over real connections: read whole, read slowly, not read, and cut off."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from shared import keys
from shared.records.job_records import JobRecords
from shared.jobs import ItemState, Lane, NewItem, NewJob, Outcome, Prediction, new_job_id
from shared.redis_client import connect
from tests.support.connection import Connection
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until

#: Seconds that a stream may stand still here. The default is 60.
STILL_SECONDS = 1.0
TOTAL = 20_000
SCRIPT = "/openapi/redoc/js/redoc.standalone.js"
LAST_CHUNK = b"0\r\n\r\n"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    folder = tmp_path_factory.mktemp("streams")
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(folder)}
    own |= {"SLOW_DOWNLOAD_SECONDS": str(STILL_SECONDS)}
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        yield running


@pytest.fixture(scope="module")
def job_id(web: LocalService) -> str:
    """A completed job with some ten megabytes of results."""
    redis = connect(web.redis_url, max_connections=1)
    jobs = JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60)
    job_id = new_job_id()
    predictions = tuple(Prediction(k, f"a class of pictures {k}", 0.123) for k in range(5))
    outcome = Outcome(state=ItemState.SUCCEEDED, predictions=predictions, model_version="m-1")
    items = [
        NewItem(name=f"{k}.jpg", digest=f"{k:064x}", data=b"", outcome=outcome)
        for k in range(TOTAL)
    ]
    jobs.submitter.accept([NewJob(id=job_id, lane=Lane.BULK, top_k=5, items=items)])
    redis.connection_pool.disconnect()
    return job_id


def test_a_stream_arrives_whole_and_its_connection_stays_open(
    web: LocalService, job_id: str
) -> None:
    with httpx.Client(base_url=web.base_url, timeout=30) as http:
        lines = http.get(f"/jobs/{job_id}/results?format=jsonl").text.splitlines()
        table = http.get(f"/jobs/{job_id}/results?format=csv").text.splitlines()
        time.sleep(STILL_SECONDS + 0.5)  # a connection without a stream may stand still
        assert http.get("/livez").is_success
    assert (len(lines), len(table)) == (TOTAL, TOTAL + 1)


def test_a_stream_that_the_client_does_not_read_is_ended(web: LocalService, job_id: str) -> None:
    with ask(web, f"/jobs/{job_id}/results?format=jsonl") as client:
        assert client.receive(1000).startswith(b"HTTP/1.1 200 ")
        time.sleep(STILL_SECONDS + 1)
        rest = client.rest()
    assert len(rest) < 8_000_000 and not rest.endswith(LAST_CHUNK)
    assert httpx.get(f"{web.base_url}/livez").is_success
    assert '"log.level":"error"' not in web.log("web") and "Traceback" not in web.log("web")


def test_a_page_that_the_client_does_not_read_is_ended(web: LocalService, job_id: str) -> None:
    with ask(web, f"/jobs/{job_id}/results?limit=1000") as client:
        head = client.receive(1000)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        time.sleep(4 * STILL_SECONDS)  # the kernel looks again after longer and longer pauses
        with suppress(ConnectionResetError):
            rest = client.rest()
            assert len(rest) < length - 1000
    assert httpx.get(f"{web.base_url}/livez").is_success


def test_a_stream_that_is_read_slowly_arrives_whole(web: LocalService, job_id: str) -> None:
    with ask(web, f"/jobs/{job_id}/results?format=jsonl") as client:
        for _ in range(8):
            client.receive(300_000)
            time.sleep(STILL_SECONDS / 4)
        assert client.rest().endswith(LAST_CHUNK)


def test_a_stream_that_cannot_be_read_to_its_end_is_cut_off(web: LocalService, job_id: str) -> None:
    redis = web.redis()
    whole = redis.dump(keys.part(job_id, 300))
    redis.delete(keys.part(job_id, 300))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{web.base_url}/jobs/{job_id}/results?format=csv", timeout=30)
    redis.restore(keys.part(job_id, 300), 3_600_000, whole)


def test_the_kernel_buffers_little_of_an_answer_that_is_not_read(web: LocalService) -> None:
    """A script of a megabyte. It would else buffer four megabytes for each connection."""
    with ExitStack() as clients:
        unread = [clients.enter_context(ask(web, SCRIPT)) for _ in range(10)]
        wait_until(lambda: all(each.has_answer() for each in unread))
        time.sleep(0.3)
        waiting = bytes_that_wait(web.port)
    assert len(waiting) == 10 and 0 < max(waiting) < 300_000


def bytes_that_wait(port: int) -> list[int]:
    """For each connection to this port, the bytes that the kernel has not delivered."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [row for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]
    return [int(row[4].partition(":")[0], 16) for row in established]


def ask(web: LocalService, path: str) -> Connection:
    """A connection with a request, whose buffer holds little that is not read yet."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return Connection(web.base_url, request.encode(), receive_buffer=65_536)

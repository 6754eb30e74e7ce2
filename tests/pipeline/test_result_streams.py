"""Streams of results over real connections: whole, cut off, and read slowly."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import httpx
import pytest

from tests.support.local_service import LocalService, local_service
from shared import keys
from shared.records.job_records import JobRecords
from shared.jobs import ItemState, Lane, NewItem, NewJob, Outcome, Prediction, new_job_id
from shared.redis_client import connect

#: How long a stream may stand still here; the default is longer than a test should wait.
STILL_SECONDS = 1.0
TOTAL = 20_000


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
    """A job that has ended; some ten megabytes of results."""
    redis = connect(web.redis_url, max_connections=1)
    jobs = JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60)
    found = new_job_id()
    predictions = tuple(Prediction(k, f"a class of pictures {k}", 0.123) for k in range(5))
    outcome = Outcome(state=ItemState.SUCCEEDED, predictions=predictions, model_version="m-1")
    items = [
        NewItem(name=f"{k}.jpg", digest=f"{k:064x}", data=b"", outcome=outcome)
        for k in range(TOTAL)
    ]
    jobs.submitter.accept([NewJob(id=found, lane=Lane.BULK, top_k=5, items=items)])
    redis.connection_pool.disconnect()
    return found


def test_a_stream_comes_whole_and_its_connection_lives_on(web: LocalService, job_id: str) -> None:
    with httpx.Client(base_url=web.base_url, timeout=30) as http:
        lines = http.get(f"/jobs/{job_id}/results?format=jsonl").text.splitlines()
        table = http.get(f"/jobs/{job_id}/results?format=csv").text.splitlines()
        time.sleep(STILL_SECONDS + 0.5)  # not a stream any more: it may stand still
        assert http.get("/livez").is_success
    assert (len(lines), len(table)) == (TOTAL, TOTAL + 1)


def test_a_stream_that_nobody_reads_is_ended(web: LocalService, job_id: str) -> None:
    with ask(web, f"/jobs/{job_id}/results?format=jsonl") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        time.sleep(STILL_SECONDS + 1)
        size, last = read(client)
    assert size < 8_000_000 and not last.endswith(b"0\r\n\r\n")
    assert httpx.get(f"{web.base_url}/livez").is_success
    assert '"log.level":"error"' not in web.log("web") and "Traceback" not in web.log("web")


def test_a_stream_that_is_read_slowly_comes_whole(web: LocalService, job_id: str) -> None:
    with ask(web, f"/jobs/{job_id}/results?format=jsonl") as client:
        for _ in range(8):
            client.recv(300_000)
            time.sleep(STILL_SECONDS / 4)
        assert read(client)[1].endswith(b"0\r\n\r\n")


def test_a_stream_that_cannot_be_read_to_its_end_is_cut_off(web: LocalService, job_id: str) -> None:
    redis = web.redis()
    whole = redis.dump(keys.part(job_id, 300))
    redis.delete(keys.part(job_id, 300))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{web.base_url}/jobs/{job_id}/results?format=csv", timeout=30)
    redis.restore(keys.part(job_id, 300), 3_600_000, whole)


def ask(web: LocalService, path: str) -> socket.socket:
    """A connection that has asked, and takes little before it is read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    client.settimeout(10)
    client.connect(("127.0.0.1", int(web.base_url.rpartition(":")[2])))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    return client


def read(client: socket.socket) -> tuple[int, bytes]:
    """Bytes that come until the end, and the last of them."""
    size, last = 0, b""
    with closing(client), suppress(ConnectionResetError):
        while piece := client.recv(1_000_000):
            size, last = size + len(piece), (last + piece)[-100:]
    return size, last

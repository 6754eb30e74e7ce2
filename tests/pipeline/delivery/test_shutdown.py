"""gunicorn receives SIGTERM. Clients that wait are answered, idle connections are closed, and the
process exits.

It would end whatever is left after 60 s. All limits here are far below that.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from shared.jobs import Lane, PartRef
from tests.support.connection import Connection
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until
from tests.support.work import commit

pytestmark = pytest.mark.long

PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[LocalService]:
    """Redis and one web process. Each test ends its jobs itself."""
    environment = os.environ | {"WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path)}
    environment["HOME"] = "/dev/null"  # a container has no home that may be written to
    with local_service(tmp_path, environment) as running:
        running.start_web()
        running.await_web()
        with running.may_die("web"):
            yield running


def test_clients_that_wait_are_answered_before_the_process_exits(web: LocalService) -> None:
    picture = {"files": ("cat.jpg", PICTURE)}
    waited_for = httpx.post(f"{web.base_url}/jobs", files=picture).json()["id"]
    with (
        ThreadPoolExecutor() as clients,
        closing(HTTPConnection("127.0.0.1", web.port, timeout=40)) as waiting,
    ):
        # Web accepts connections in order. So when it has the picture, it has this request, too.
        waiting.request("GET", f"/jobs/{waited_for}?wait=30")
        classify = f"{web.base_url}/api/v1/classify?wait=30"
        classified = clients.submit(httpx.post, classify, content=PICTURE + b"!", timeout=40)
        parts = _outstanding(web, 2)

        process = web.processes["web"]
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: _refuses_connections(web))
        assert process.poll() is None and not classified.done()
        assert not select.select([waiting.sock], [], [], 0)[0], "the wait has ended"

        commit(web.redis_url, *parts)
        assert classified.result().json()["predictions"] == []
        answer = waiting.getresponse()
        assert answer.status == 200
        assert json.load(answer)["state"] == "completed"
        assert process.wait(timeout=20) == 0
    assert "rror" not in web.log("web")


def test_an_idle_connection_does_not_delay_the_end(web: LocalService) -> None:
    with httpx.Client(base_url=web.base_url) as http, Connection(web.base_url):
        assert http.get("/livez").is_success  # its connection stays open
        process = web.processes["web"]
        process.send_signal(signal.SIGTERM)
        # One more request is answered, and the answer says that the connection ends.
        time.sleep(0.3)
        last = http.get("/livez")
        assert (last.status_code, last.headers["Connection"]) == (200, "close")
        assert process.wait(timeout=20) == 0
    assert "rror" not in web.log("web")


def test_a_request_that_comes_as_the_process_is_asked_to_stop_is_answered(tmp_path: Path) -> None:
    environment = os.environ | {"WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path)}
    with local_service(tmp_path, environment) as web, web.may_die("web"):
        application = "tests.pipeline.delivery.stopping_app:create_app()"
        web.start("web", ["gunicorn", "-c", "web/server/gunicorn.conf.py", application], {})
        web.await_web()
        with closing(HTTPConnection("127.0.0.1", web.port, timeout=20)) as client:
            client.request("GET", "/stop-at-the-next-request")
            client.getresponse().read()
            client.request("GET", "/livez")
            last = client.getresponse()
            assert (last.status, last.headers["Connection"]) == (200, "close")
        process = web.processes["web"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_streams_of_events_end_properly_and_do_not_delay_the_end(web: LocalService) -> None:
    job = httpx.post(f"{web.base_url}/jobs", files={"files": ("cat.jpg", PICTURE)}).json()
    process = web.processes["web"]
    with httpx.stream("GET", f"{web.base_url}/jobs/{job['id']}/events", timeout=20) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        process.send_signal(signal.SIGTERM)
        events = list(lines)  # raises where the stream is cut off
        assert "event: progress" in events and "event: end" not in events
    assert process.wait(timeout=20) == 0
    assert "rror" not in web.log("web")


def test_a_process_that_is_still_loading_ends_without_an_error(tmp_path: Path) -> None:
    with local_service(tmp_path, os.environ | {"DATA_DIR": str(tmp_path)}) as starting:
        application = "tests.pipeline.delivery.ended_app:create_app()"
        starting.start("web", ["gunicorn", "-c", "web/server/gunicorn.conf.py", application], {})
        with starting.may_die("web"):
            assert starting.processes["web"].wait(timeout=30) == 0
        assert "rror" not in starting.log("web")


def _refuses_connections(web: LocalService) -> bool:
    try:
        httpx.get(f"{web.base_url}/livez")
    except httpx.ConnectError:
        return True
    except httpx.ReadError:  # the kernel had taken the connection as the process closed its port
        return False
    return False


def _outstanding(web: LocalService, count: int) -> list[PartRef]:
    """The parts that wait, once there are so many."""
    redis = web.redis()
    key = f"outstanding:{Lane.INTERACTIVE}"
    wait_until(lambda: redis.zcard(key) >= count)
    return [PartRef.from_member(member.decode()) for member in redis.zrange(key, 0, -1)]

"""Clients that dawdle, vanish and flood hold nothing up: the real gunicorn, raw sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

import httpx
import pytest

from tests.support.local_service import LocalService, local_service
from shared.jobs import Lane

#: How long an upload may stand still here; the default is longer than a test should wait.
STILL_SECONDS = 1.0
CROWD = 300


@pytest.fixture(scope="module")
def hasty(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    # An open job never ends by itself, and a made-up request may wait for it.
    own = {"SLOW_UPLOAD_SECONDS": str(STILL_SECONDS), "MAX_WAIT_SECONDS": "2"}
    environment = model_environment | own
    with local_service(tmp_path_factory.mktemp("hasty"), environment) as running:
        running.start_worker(Lane.INTERACTIVE)
        running.start_web()
        running.await_ready()
        yield running


class Client:
    """A connection on which anything can be said."""

    def __init__(self, service: LocalService, said: bytes = b"") -> None:
        port = int(service.base_url.rpartition(":")[2])
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.sendall(said)

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> bytes:
        """All that comes until the service closes the connection."""
        answer = b""
        with suppress(ConnectionResetError):
            while data := self._socket.recv(65_536):
                answer += data
        return answer

    def vanish(self) -> None:
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def head(length: int, kind: str = "image/jpeg") -> bytes:
    return (
        f"POST /api/v1/classify HTTP/1.1\r\nHost: test\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


HALF_A_FORM = (
    head(50_000, "multipart/form-data; boundary=b")
    + b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n\xff\xd8\xff'
)


PROMPT_REQUESTS = 10


def assert_prompt(service: LocalService) -> None:
    """Good requests are answered as if nobody else were there."""
    picture = b"\xff\xd8\xff no picture, but the worker has to look"
    seconds = []
    with httpx.Client(base_url=service.base_url, timeout=20) as http:
        for _ in range(PROMPT_REQUESTS):
            started = time.monotonic()
            answer = http.post("/api/v1/classify", content=picture)
            seconds.append(time.monotonic() - started)
            assert answer.json()["code"] in ("decode_failed", "truncated_image"), answer.text
    assert median(seconds) < 0.5, seconds


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HT",
        b"GET /livez HTTP/1.1\r\nHost: test\r\nX-Slow: ",
        head(100_000) + b"\xff\xd8\xff",
        HALF_A_FORM,
    ],
    ids=["nothing", "half a line", "half a head", "a few bytes", "half a form"],
)
def test_a_crowd_that_stands_still_holds_nobody_up(hasty: LocalService, said: bytes) -> None:
    with ExitStack() as crowd:
        for _ in range(CROWD):
            crowd.enter_context(Client(hasty, said))
        assert_prompt(hasty)


@pytest.mark.parametrize("said", [head(100_000) + b"\xff\xd8\xff", HALF_A_FORM])
def test_an_upload_that_stands_still_is_ended(hasty: LocalService, said: bytes) -> None:
    with Client(hasty, said) as client:
        started = time.monotonic()
        answer = client.answer()
        assert answer.startswith(b"HTTP/1.1 408 ") and b'"request_timeout"' in answer
        assert STILL_SECONDS - 0.1 < time.monotonic() - started < STILL_SECONDS + 3


def test_an_upload_that_drips_is_ended_too(hasty: LocalService) -> None:
    with Client(hasty, head(100_000)) as client:
        with suppress(ConnectionError):
            for _ in range(30):
                client.say(b"x")
                time.sleep(STILL_SECONDS / 10)
        assert b" 408 " in client.answer()


@pytest.mark.parametrize("said", [head(100_000) + b"\xff\xd8\xff", HALF_A_FORM, b"GET / HT"])
def test_dropped_uploads_leave_nothing_behind(hasty: LocalService, said: bytes) -> None:
    redis = hasty.redis()
    jobs = len(redis.keys("job:*"))
    for _ in range(50):
        Client(hasty, said).vanish()
    assert_prompt(hasty)
    assert '"log.level":"error"' not in hasty.log("web")
    assert redis.zcard(f"outstanding:{Lane.INTERACTIVE}") == 0
    assert len(redis.keys("job:*")) == jobs + PROMPT_REQUESTS


@pytest.mark.parametrize(
    "flood",
    [
        b"X-Many: 1\r\n" * 100_000,
        b"X-Long: " + b"a" * 1_000_000 + b"\r\n",
        b"X-Endless: " + b"a" * 1_000_000,
    ],
    ids=["many headers", "a long header", "a header without end"],
)
def test_a_flood_of_headers_is_cut_off(hasty: LocalService, flood: bytes) -> None:
    with Client(hasty) as client:
        with suppress(ConnectionError):
            client.say(b"GET /livez HTTP/1.1\r\nHost: test\r\n" + flood)
        answer = client.answer()
        assert not answer or answer.split()[1] in (b"400", b"431"), answer
    assert_prompt(hasty)


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(9000),
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["TLS", "version", "negative length", "two lengths", "bad chunk"],
)
def test_what_is_no_http_is_refused(hasty: LocalService, said: bytes) -> None:
    with Client(hasty, said) as client:
        answer = client.answer()
        assert not answer or answer.split()[1].startswith(b"4") or b" 505 " in answer, answer


def test_no_answer_tells_versions(hasty: LocalService) -> None:
    assert httpx.get(f"{hasty.base_url}/livez").headers["Server"] == "gunicorn"


def test_the_openapi_document_tells_all_that_is_answered(
    hasty: LocalService, tmp_path: Path
) -> None:
    """schemathesis makes requests from the document, right and wrong ones, from a fixed seed."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{hasty.base_url}/openapi.json"),
        *("--seed", "1", "--max-examples", "10", "--max-time", "20", "--no-color"),
        *("--phases", "examples,coverage,fuzzing", "--generation-database", "none"),
        # No schema can say that bytes are a picture, or that there are as many names as files.
        *("--exclude-checks", "positive_data_acceptance"),
        # Its answer ends when the job does, which may be never where nobody fills it.
        *("--exclude-operation-id", "events"),
    ]
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]

"""Clients that send slowly, leave, and flood the service. Raw sockets and the real gunicorn."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from shared.jobs import Lane
from tests.support.connection import Connection, head
from tests.support.local_service import LocalService, local_service

#: How long an upload may stand still in `hasty`, in seconds. The default is 10.
STILL_SECONDS = 1.0
#: Two crowds are less than one client's share, because the service may not have noticed yet that an
#: earlier one has gone.
CROWD = 200

CLASSIFY = "/api/v1/classify"
A_FEW_BYTES = head(CLASSIFY, 100_000, "Content-Type: image/jpeg") + b"\xff\xd8\xff"
HALF_A_FORM = (
    head(CLASSIFY, 50_000, "Content-Type: multipart/form-data; boundary=b")
    + b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n\xff\xd8\xff'
)

#: Requests of `classify_a_few`.
FEW = 10


@pytest.fixture(scope="module")
def hasty(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    """A service that soon ends an upload that stands still."""
    # A request may wait for an open job, which never ends by itself.
    own = {"SLOW_UPLOAD_SECONDS": str(STILL_SECONDS), "MAX_WAIT_SECONDS": "2"}
    environment = model_environment | own
    with local_service(tmp_path_factory.mktemp("hasty"), environment) as running:
        running.start_worker(Lane.INTERACTIVE)
        running.start_web()
        running.await_ready()
        yield running


def classify_a_few(service: LocalService) -> None:
    """Send good requests one after the other; each must be answered by a worker."""
    not_a_picture = b"\xff\xd8\xff no picture, which only a worker notices"
    with httpx.Client(base_url=service.base_url, timeout=20) as http:
        for _ in range(FEW):
            answer = http.post(CLASSIFY, content=not_a_picture)
            assert answer.json()["code"] in ("decode_failed", "truncated_image"), answer.text


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        A_FEW_BYTES,
        HALF_A_FORM,
    ],
    ids=["nothing", "half a line", "half a head", "a few bytes", "half a form"],
)
def test_good_requests_are_answered_while_a_crowd_stands_still(
    service: LocalService, sent: bytes
) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(Connection(service.base_url, sent)) for _ in range(CROWD)]
        classify_a_few(service)
        ended, _, _ = select.select([each.socket for each in crowd], [], [], 0)
        assert not ended, "the answers came before the service had ended any of the crowd"


@pytest.mark.parametrize("sent", [A_FEW_BYTES, HALF_A_FORM])
def test_an_upload_that_stands_still_is_ended(hasty: LocalService, sent: bytes) -> None:
    with Connection(hasty.base_url, sent) as client:
        started = time.monotonic()
        answer = client.rest()
        assert answer.startswith(b"HTTP/1.1 408 ") and b'"request_timeout"' in answer
        assert time.monotonic() - started > STILL_SECONDS - 0.1


def test_an_upload_that_sends_single_bytes_is_ended_too(hasty: LocalService) -> None:
    with Connection(hasty.base_url, head(CLASSIFY, 100_000)) as client:
        with suppress(ConnectionError):
            while not select.select([client.socket], [], [], STILL_SECONDS / 10)[0]:
                client.send(b"x")
        assert b" 408 " in client.rest()


@pytest.mark.parametrize("sent", [A_FEW_BYTES, HALF_A_FORM, b"GET / HT"])
def test_uploads_that_clients_leave_store_nothing(hasty: LocalService, sent: bytes) -> None:
    redis = hasty.redis()
    jobs = len(redis.keys("job:*"))
    for _ in range(50):
        Connection(hasty.base_url, sent).close()
    classify_a_few(hasty)
    assert '"log.level":"error"' not in hasty.log("web")
    assert redis.zcard(f"outstanding:{Lane.INTERACTIVE}") == 0
    assert len(redis.keys("job:*")) == jobs + FEW


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
    with Connection(hasty.base_url) as client:
        with suppress(ConnectionError):
            client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + flood)
        answer = client.rest()
        assert not answer or answer.split()[1] in (b"400", b"431"), answer
    classify_a_few(hasty)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(9000),
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["TLS", "version", "negative length", "two lengths", "bad chunk"],
)
def test_bytes_that_are_not_http_are_refused(hasty: LocalService, sent: bytes) -> None:
    with Connection(hasty.base_url, sent) as client:
        answer = client.rest()
        assert not answer or answer.split()[1].startswith(b"4") or b" 505 " in answer, answer


def test_no_answer_contains_versions(hasty: LocalService) -> None:
    assert httpx.get(f"{hasty.base_url}/livez").headers["Server"] == "gunicorn"


def assert_answers_agree(service: LocalService, folder: Path, *which: str) -> None:
    """schemathesis makes right and wrong requests from the OpenAPI document, from a fixed seed.

    Their number is fixed, so that a slow machine tests the same.
    """
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.base_url}/openapi.json"),
        *("--seed", "1", "--max-examples", "20", "--no-color"),
        *("--phases", "examples,coverage,fuzzing", "--generation-database", "none"),
        # No schema can say that bytes are a picture, or that there are as many names as files.
        *("--exclude-checks", "positive_data_acceptance"),
        *which,
    ]
    # gunicorn refuses an address that is too long.
    expected = [400, 401, 403, 404, 405, 406, 409, 414, 415, 422, 428, 429, 431, "5xx"]
    checks = f"[checks.negative_data_rejection]\nexpected-statuses = {[*map(str, expected)]}\n"
    # At random, a form of one picture that is meant to be wrong may be written as a right one. The
    # wrong forms of the phase before are still checked.
    checks += (
        '[[operations]]\ninclude-operation-id = "classify"\n'
        "phases.fuzzing.checks.negative_data_rejection.enabled = false\n"
    )
    (folder / "schemathesis.toml").write_text(checks)
    run = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=90, check=False
    )
    assert run.returncode == 0, run.stdout[-12000:] + run.stderr[-2000:]


@pytest.mark.long
def test_every_answer_agrees_with_the_openapi_document(hasty: LocalService, tmp_path: Path) -> None:
    # A stream of events ends with its job, and some of these jobs never end. An operator can close
    # lanes, and then nothing is accepted any more.
    which = ["--exclude-operation-id", "followJob", "--exclude-path-regex", "/operator/"]
    assert_answers_agree(hasty, tmp_path, *which)


@pytest.mark.long
def test_every_answer_to_an_operator_agrees_with_the_openapi_document(
    hasty: LocalService, tmp_path: Path
) -> None:
    try:
        assert_answers_agree(hasty, tmp_path, "--include-path-regex", "/operator/")
    finally:
        for lane in Lane:
            url = f"{hasty.base_url}/api/v1/operator/lanes/{lane}"
            assert httpx.put(url, json={"state": "open"}).is_success

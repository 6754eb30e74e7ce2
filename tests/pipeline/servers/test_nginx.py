"""The service behind the shipped nginx configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from shared.settings import Settings
from tests.pipeline.conftest import StartNginx
from tests.support.connection import Connection, head
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

#: Of one address, in nginx.conf.
_CONNECTIONS = 2_000


@pytest.fixture(scope="module")
def front(start_nginx: StartNginx, service: LocalService) -> Iterator[str]:
    with start_nginx([service.port]) as url:
        yield url


@pytest.fixture(scope="module")
def guarded(start_nginx: StartNginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web process alone, which takes clients' addresses from nginx and allows each 3 requests."""
    environment = os.environ | {
        "TRUSTED_PROXIES": "1",
        "RATE_LIMIT_PER_MINUTE": "3",
        "SLOW_UPLOAD_SECONDS": "1",
        "WEB_PROCESSES": "1",
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }
    with local_service(tmp_path_factory.mktemp("guarded"), environment) as running:
        running.start_web()
        with start_nginx([running.port]) as url:
            wait_until(lambda: httpx.get(f"{url}/readyz").is_success)
            yield url


def test_a_picture_gets_its_labels_through_nginx(front: str, pictures: list[Path]) -> None:
    answer = httpx.post(f"{front}/api/v1/classify", content=pictures[0].read_bytes(), timeout=60)
    assert answer.status_code == 200 and len(answer.json()["predictions"]) == 5


def test_a_client_waits_for_a_job_through_nginx(front: str, pictures: list[Path]) -> None:
    files = [("files", (path.name, path.read_bytes() + b"nginx")) for path in pictures[:8]]
    job = httpx.post(f"{front}/jobs", files=files, timeout=60).json()
    ended = httpx.get(f"{front}/jobs/{job['id']}?wait=50", timeout=60).json()
    assert ended["state"] == "completed" and ended["counts"]["succeeded"] == 8


def test_a_job_is_followed_through_nginx(front: str) -> None:
    """Each event arrives when it happens; no buffer holds it back."""
    with httpx.Client(base_url=front, timeout=20) as http:
        job = http.post("/jobs", json={"total": 1}).json()["job"]
        with http.stream("GET", f"/jobs/{job['id']}/events") as stream:
            lines = stream.iter_lines()
            assert any(line == "event: progress" for line in lines)
            assert httpx.delete(f"{front}/jobs/{job['id']}").json()["state"] == "cancelled"
            assert any(line == "event: end" for line in lines)


def test_a_refusal_comes_before_the_body_is_sent(front: str) -> None:
    length = Settings().max_image_bytes + 2**20
    with Connection(front, head("/api/v1/classify", length)) as client:
        answer = client.receive()
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"request_too_large"' in answer


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/jobs?" + 5000 * "a", "POST", 414), ("/jobs", 26 * "A", 400)]
)
def test_requests_that_gunicorn_refuses_take_no_replica_out(
    start_nginx: StartNginx, service: LocalService, path: str, method: str, status: int
) -> None:
    """nginx allows both heads. It counts a failure if a connection ends before all is sent."""
    with start_nginx([service.port] * 2) as url:
        for _ in range(8):
            with Connection(url, head(path, 8_000_000, method=method)) as client:
                with suppress(OSError):
                    client.send(bytes(8_000_000))
                assert client.receive().startswith(b"HTTP/1.1 %d " % status)
        assert httpx.get(f"{url}/livez").is_success


@pytest.mark.parametrize("more", [0, 1])
def test_nginx_and_the_application_refuse_the_same_length_alike(front: str, more: int) -> None:
    """Up to the limit the application decides, above it nginx. Clients see no difference."""
    length = Settings().max_archive_bytes + more
    start = head("/jobs", length, "Content-Type: multipart/form-data; boundary=b")
    with Connection(front, start + b"--b--") as client:
        if not more:
            # It is not refused. The application waits for the rest of the body.
            client.socket.settimeout(1)
            with pytest.raises(TimeoutError):
                client.receive()
            return
        answer = client.receive()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer and b'"code":"request_too_large"' in answer


def test_clients_are_told_apart_by_their_own_addresses(guarded: str) -> None:
    def ask(address: str, claim: str) -> int:
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(transport=transport, base_url=guarded) as client:
            return client.get("/jobs/none", headers={"X-Forwarded-For": claim}).status_code

    assert [ask("127.0.0.2", f"10.0.0.{k}") for k in range(4)] == [404, 404, 404, 429]
    assert ask("127.0.0.3", "127.0.0.2") == 404


def test_an_upload_that_stands_still_gets_the_applications_answer(guarded: str) -> None:
    start = head("/api/v1/classify", 100_000) + b"\xff\xd8\xff"
    with Connection(guarded, start) as client:
        answer = client.receive()  # nginx itself would wait for a minute
        assert answer.startswith(b"HTTP/1.1 408 ") and b'"request_timeout"' in answer


def test_metrics_are_not_public(front: str) -> None:
    answer = httpx.get(f"{front}/metrics")
    assert answer.status_code == 404 and answer.json()["code"] == "not_found"
    assert "nginx/" not in answer.headers["Server"]


@pytest.fixture(scope="module")
def shared(start_nginx: StartNginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web process alone, which takes clients' addresses from nginx."""
    environment = os.environ | {
        "TRUSTED_PROXIES": "1",
        "WEB_PROCESSES": "1",
        "SLOW_UPLOAD_SECONDS": "60",  # however long it takes to open hundreds of connections
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }
    with local_service(tmp_path_factory.mktemp("shared"), environment) as running:
        running.start_web()
        with start_nginx([running.port]) as url:
            wait_until(lambda: httpx.get(f"{url}/livez").is_success)
            yield url


def test_many_uploads_of_one_address_leave_room_for_others(shared: str) -> None:
    """nginx counts the requests of an address, and the application those that it lets through."""
    trickle = head("/api/v1/classify", 100_000, "Content-Type: image/jpeg") + b"\xff\xd8\xff"
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with (
        httpx.Client(transport=transport, base_url=shared, timeout=10) as other,
        ExitStack() as crowd,
    ):
        uploads = [crowd.enter_context(Connection(shared, trickle)) for _ in range(501)]
        # Processes of nginx share the count, so it need not be the last one that is refused.
        refused = _first_answered(uploads).receive()
        assert refused.startswith(b"HTTP/1.1 503 ") and b"Retry-After: " in refused
        assert b"application/problem+json" in refused
        answer = other.post("/api/v1/classify?wait=0", content=b"\xff\xd8\xff no picture")
        assert answer.status_code == 202


@pytest.mark.usefixtures("many_sockets")
def test_connections_of_one_address_leave_room_for_others(shared: str) -> None:
    """Heads that never end would otherwise take all connections and all memory of nginx."""
    asking = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"  # nginx itself answers
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with (
        httpx.Client(transport=transport, base_url=shared, timeout=10) as other,
        ExitStack() as crowd,
    ):
        for _ in range(_CONNECTIONS):
            client = crowd.enter_context(Connection(shared, asking))
            assert client.receive().startswith(b"HTTP/1.1 404 ")
        with suppress(ConnectionError), Connection(shared, asking) as refused:
            assert refused.receive() == b""
        assert other.get("/livez").is_success


def _first_answered(connections: Sequence[Connection]) -> Connection:
    answered: list[Connection] = []

    def read() -> list[Connection]:
        answered.extend(each for each in connections if each.has_answer())
        return answered

    wait_until(read)
    return answered[0]


def test_nginx_gives_one_address_as_much_as_a_process_gives_one_client() -> None:
    limit = Settings().max_concurrent_submissions // 2
    assert f"limit_conn addresses {limit};" in Path("nginx/service.conf").read_text()

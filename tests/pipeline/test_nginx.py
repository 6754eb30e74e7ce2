"""The shipped nginx configuration, run by a real nginx: before the service, and before replicas
that do exactly what a test tells them."""

from __future__ import annotations

import getpass
import os
import queue
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.local_service import LocalService, free_port, local_service
from shared.settings import Settings

_SHIPPED = Path(__file__).parents[2] / "nginx"

Nginx = Callable[[Sequence[int]], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def start_nginx(tmp_path_factory: pytest.TempPathFactory) -> Nginx:
    """Starts an nginx with the shipped files before the web replicas at the ports given."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        assert not os.environ.get("CI"), "continuous integration installs nginx"
        pytest.skip("nginx is not installed")

    @contextmanager
    def running(ports: Sequence[int]) -> Iterator[str]:
        folder = tmp_path_factory.mktemp("nginx")
        port = _install(folder, ports)
        with (folder / "log").open("wb") as log:
            command = [program, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"]
            options = f"daemon off; user {getpass.getuser()};"
            server = subprocess.Popen([*command, "-g", options], stdout=log, stderr=log)
        try:
            _await_listening(port, server, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)

    return running


def _install(folder: Path, ports: Sequence[int]) -> int:
    """The shipped files with other addresses. The replicas stand in for `server web:8000 resolve`,
    which Debian's nginx does not know yet; all else is as it ships."""
    first = 0
    for shipped in _SHIPPED.glob("*.conf"):
        text = shipped.read_text().replace("/tmp/", f"{folder}/")
        for listen in re.findall(r"listen \d+", text):
            port = free_port()
            text = text.replace(listen, f"listen 127.0.0.1:{port}")
            first = port if listen == "listen 8080" else first
        replicas = "\n".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        text, _ = re.subn(r"server web:8000 resolve [^;]*;", replicas, text)
        (folder / shipped.name).write_text(text)
    return first


def _await_listening(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port))):
            return
        assert server.poll() is None, log.read_text()
        time.sleep(0.02)
    raise AssertionError(log.read_text())


class Replica:
    """A web replica that answers every request with `answers`, one piece for each `tell()`."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.connections = 0
        self.requests: list[bytes] = []
        self.body: queue.Queue[bytes] = queue.Queue()  #: Of uploads, as it comes.
        self.tell = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while head := self._head(connection):
                self.requests.append(head)
                for answer in self.answers:
                    self.tell.acquire()
                    connection.sendall(answer)
                if not self.answers:
                    return

    def _head(self, connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (data := connection.recv(65_536)):
                return b""
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        if length := re.search(rb"(?i)content-length: (\d+)", head):
            self._upload(connection, body, int(length[1]))
        return head

    def _upload(self, connection: socket.socket, body: bytes, left: int) -> None:
        while True:
            self.body.put(body)
            left -= len(body)
            if left <= 0 or not (body := connection.recv(65_536)):
                return


@pytest.fixture
def replica() -> Iterator[Callable[..., Replica]]:
    with ExitStack() as stack:

        def make(*answers: bytes) -> Replica:
            return stack.enter_context(closing(Replica(*answers)))

        yield make


def _answer(kind: str, body: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@pytest.fixture(scope="module")
def front(start_nginx: Nginx, service: LocalService) -> Iterator[str]:
    with start_nginx([_port(service)]) as url:
        yield url


@pytest.fixture(scope="module")
def guarded(
    start_nginx: Nginx, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, LocalService]]:
    """A web process alone, which trusts nginx to tell clients apart and lets each ask thrice."""
    environment = os.environ | {
        "TRUSTED_PROXIES": "1",
        "RATE_LIMIT_PER_MINUTE": "3",
        "SLOW_UPLOAD_SECONDS": "1",
        "WEB_PROCESSES": "1",
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }
    with local_service(tmp_path_factory.mktemp("guarded"), environment) as running:
        running.start_web()
        with start_nginx([_port(running)]) as url:
            _await_ready(url)
            yield url, running


def _port(service: LocalService) -> int:
    return int(service.base_url.rpartition(":")[2])


def _await_ready(url: str) -> None:
    for _ in range(200):
        if httpx.get(f"{url}/readyz").is_success:
            return
        time.sleep(0.05)
    raise AssertionError("the web process did not become ready")


def _say(url: str, said: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20)
    connection.sendall(said)
    return connection


def _head(path: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n".encode()


def test_a_picture_gets_its_labels_through_nginx(front: str, pictures: list[Path]) -> None:
    answer = httpx.post(f"{front}/api/v1/classify", content=pictures[0].read_bytes(), timeout=60)
    assert answer.status_code == 200 and len(answer.json()["predictions"]) == 5


def test_a_job_is_waited_for_through_nginx(front: str, pictures: list[Path]) -> None:
    files = [("files", (path.name, path.read_bytes() + b"nginx")) for path in pictures[:8]]
    job = httpx.post(f"{front}/jobs", files=files, timeout=60).json()
    ended = httpx.get(f"{front}/jobs/{job['id']}?wait=50", timeout=60).json()
    assert ended["state"] == "completed" and ended["counts"]["succeeded"] == 8


def test_an_upload_reaches_the_service_as_it_comes(
    start_nginx: Nginx, replica: Callable[..., Replica]
) -> None:
    web = replica(_answer("application/json", b"{}"))
    with start_nginx([web.port]) as url, _say(url, _head("/jobs", 2000) + b"a" * 1000) as client:
        received = b""
        while len(received) < 1000:
            received += web.body.get(timeout=5)
        client.sendall(b"b" * 1000)
        web.tell.release()
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_refusal_comes_before_the_body_is_sent(front: str) -> None:
    length = Settings().max_image_bytes + 2**20
    with _say(front, _head("/api/v1/classify", length)) as client:
        answer = client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"request_too_large"' in answer


@pytest.mark.parametrize("more", [0, 1])
def test_nginx_and_the_application_refuse_the_same_length_alike(front: str, more: int) -> None:
    """At the limit the application decides, past it nginx; a client cannot tell which."""
    form = "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
    head = _head("/jobs", Settings().max_archive_bytes + more).replace(b"\r\n\r\n", b"\r\n" + form)
    with _say(front, head + b"--b--") as client:
        if not more:
            # Read, so not refused: the application waits for the rest.
            client.settimeout(1)
            with pytest.raises(TimeoutError):
                client.recv(65_536)
            return
        answer = client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer and b'"code":"request_too_large"' in answer


def test_events_arrive_one_by_one(start_nginx: Nginx, replica: Callable[..., Replica]) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    events = [b"f\r\ndata: 1234567\n\n\r\n", b"f\r\ndata: 7654321\n\n\r\n", b"0\r\n\r\n"]
    web = replica(head, *events)
    with start_nginx([web.port]) as url:
        web.tell.release()
        gzip = {"Accept-Encoding": "gzip"}
        with httpx.stream("GET", f"{url}/jobs/a/events", headers=gzip) as stream:
            pieces = stream.iter_bytes()
            for number in (b"1234567", b"7654321"):
                web.tell.release()
                assert number in next(pieces)
            assert "Content-Encoding" not in stream.headers
            web.tell.release()


def test_a_job_is_followed_through_nginx(front: str) -> None:
    """What is known is told at once, and the end when it comes; nothing waits for a buffer."""
    with httpx.Client(base_url=front, timeout=20) as http:
        job = http.post("/jobs", json={"total": 1}).json()["job"]
        with http.stream("GET", f"/jobs/{job['id']}/events") as stream:
            lines = stream.iter_lines()
            assert any(line == "event: progress" for line in lines)
            assert httpx.delete(f"{front}/jobs/{job['id']}").json()["state"] == "cancelled"
            assert any(line == "event: end" for line in lines)


@pytest.mark.parametrize("body", [b"", b"x"])
def test_a_post_is_never_sent_twice(
    start_nginx: Nginx, replica: Callable[..., Replica], body: bytes
) -> None:
    dying = [replica(), replica()]
    with start_nginx([each.port for each in dying]) as url:
        answer = httpx.post(f"{url}/jobs", content=body)
    assert sum(len(each.requests) for each in dying) == 1
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "2"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "unavailable"


def test_a_question_is_put_to_another_replica(
    start_nginx: Nginx, replica: Callable[..., Replica]
) -> None:
    dying, well = replica(), replica(_answer("application/json", b"{}"))
    well.tell.release(4)
    with start_nginx([dying.port, well.port]) as url:
        assert all(httpx.get(f"{url}/jobs/a").is_success for _ in range(4))
    assert dying.requests


def test_a_post_goes_to_the_replica_that_listens(
    start_nginx: Nginx, replica: Callable[..., Replica]
) -> None:
    well = replica(_answer("application/json", b"{}"))
    well.tell.release(4)
    with start_nginx([free_port(), well.port]) as url:
        assert all(httpx.post(f"{url}/jobs", content=b"x").is_success for _ in range(4))


def test_connections_to_a_replica_are_used_again(
    start_nginx: Nginx, replica: Callable[..., Replica]
) -> None:
    web = replica(_answer("application/json", b"{}"))
    web.tell.release(20)
    with start_nginx([web.port]) as url:
        for _ in range(20):
            httpx.get(f"{url}/jobs/a").raise_for_status()
    # One for each nginx process that happened to take a request.
    assert web.connections <= len(os.sched_getaffinity(0)) and len(web.requests) == 20


@pytest.mark.parametrize(
    ("kind", "packed"),
    [
        ("application/json", True),
        ("text/csv", True),
        ("application/jsonl", True),
        ("image/jpeg", False),
        ("image/png", False),
    ],
)
def test_text_alone_is_packed(
    start_nginx: Nginx, replica: Callable[..., Replica], kind: str, packed: bool
) -> None:
    web = replica(_answer(kind, b"a" * 5000))
    web.tell.release()
    with start_nginx([web.port]) as url:
        answer = httpx.get(f"{url}/jobs/a/results", headers={"Accept-Encoding": "gzip"})
    assert (answer.headers.get("Content-Encoding") == "gzip") is packed
    assert answer.content == b"a" * 5000


def test_a_client_is_known_by_its_own_address(guarded: tuple[str, LocalService]) -> None:
    url, _ = guarded

    def ask(address: str, claim: str) -> int:
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(transport=transport, base_url=url) as client:
            return client.get("/jobs/none", headers={"X-Forwarded-For": claim}).status_code

    assert [ask("127.0.0.2", f"10.0.0.{k}") for k in range(4)] == [404, 404, 404, 429]
    assert ask("127.0.0.3", "127.0.0.2") == 404


def test_an_upload_that_stands_still_hears_the_application(
    guarded: tuple[str, LocalService],
) -> None:
    url, _ = guarded
    with _say(url, _head("/api/v1/classify", 100_000) + b"\xff\xd8\xff") as client:
        started = time.monotonic()
        answer = client.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 408 ") and b'"request_timeout"' in answer
        assert time.monotonic() - started < 5


def test_measurements_are_not_for_strangers(front: str) -> None:
    answer = httpx.get(f"{front}/metrics")
    assert answer.status_code == 404 and answer.json()["code"] == "not_found"
    assert "nginx/" not in answer.headers["Server"]

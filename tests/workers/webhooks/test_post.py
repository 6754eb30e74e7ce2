"""A POST goes to allowed addresses only, and ends within its time limit. Real sockets."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from shared.addresses.webhook_address import Target
from tests.support.waiting import wait_until
from tests.workers.webhooks.receivers import raw_receiver, receiver
from workers.webhooks import post as post_module
from workers.webhooks.post import NotDelivered, post

BODY = b'{"type": "job.completed"}'
SECONDS = 0.5


def send(target: Target, *, allow_private: bool = True) -> int:
    headers = {"webhook-id": "1"}
    return post(target, BODY, headers, allow_private=allow_private, seconds=SECONDS).status


def local(port: int, host: str = "127.0.0.1") -> Target:
    return Target(False, host, port, "/hook?a=b")


def test_body_and_headers_arrive() -> None:
    with receiver(204) as server:
        assert send(local(server.port)) == 204
        [delivery] = server.deliveries
    assert delivery.body == BODY
    assert delivery.path == "/hook?a=b"
    assert delivery.headers["webhook-id"] == "1"
    assert delivery.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(status: int) -> None:
    with receiver(status, 200) as server:
        assert send(local(server.port)) == status
        assert len(server.deliveries) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "2130706433", "0x7f.1", "127.1"])
def test_no_connection_is_made_to_a_private_address(host: str) -> None:
    connected = threading.Event()
    with raw_receiver(lambda _: connected.set()) as port:
        with pytest.raises(NotDelivered, match="not public|resolve"):
            send(local(port, host), allow_private=False)
        assert not connected.wait(0.1)


def test_a_name_is_resolved_once_and_the_checked_address_is_used() -> None:
    """A second resolution could give another address."""
    seen: list[tuple[str, str]] = []
    listening = True

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event == "socket.getaddrinfo":
            seen.append(("resolve", arguments[0]))
        elif listening and event == "socket.connect":
            seen.append(("connect", arguments[1][0]))

    sys.addaudithook(note)  # A hook cannot be removed, so a flag stops it.
    with receiver(200) as server:
        assert send(local(server.port, "localhost")) == HTTPStatus.OK
    listening = False
    names = [name for what, name in seen if what == "resolve"]
    assert names[0] == "localhost" and "localhost" not in names[1:]
    assert {name for what, name in seen if what == "connect"} <= {"127.0.0.1", "::1"}


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used = threading.Event()
    with raw_receiver(lambda _: used.set()) as proxy, receiver(200) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        assert send(local(server.port)) == HTTPStatus.OK
        assert not used.is_set()


def read_request(connection: socket.socket) -> None:
    """Read the whole request. Closing a socket with unread bytes would discard the answer."""
    read = b""
    while BODY not in read:
        read += connection.recv(65_536)


def drip(connection: socket.socket) -> None:
    """Send an endless answer, a byte at a time, so that no single read times out."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        connection.sendall(b"a")
        time.sleep(0.05)


def continue_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


def continue_quickly(connection: socket.socket) -> None:
    read_request(connection)
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)


def continue_with_headers(connection: socket.socket) -> None:
    read_request(connection)
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\nX-Long: " + b"a" * 60_000 + b"\r\n\r\n")


def never_end_the_head(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-Long: " + b"a" * 60_000 + b"\r\n")


def say_nothing(connection: socket.socket) -> None:
    connection.settimeout(10)
    while connection.recv(65_536):
        pass


#: The last one never ends the TLS handshake.
ENDLESS = [(drip, False), (continue_for_ever, False), (say_nothing, False), (say_nothing, True)]


@pytest.mark.parametrize(("answer", "tls"), ENDLESS)
def test_a_receiver_that_never_ends_its_answer_is_cut_off(answer: object, tls: bool) -> None:
    with raw_receiver(answer) as port:  # type: ignore[arg-type]
        with pytest.raises(NotDelivered, match="^it took too long$"):
            send(Target(tls, "localhost", port, "/"))


@pytest.mark.parametrize("answer", [continue_quickly, continue_with_headers, never_end_the_head])
def test_a_head_without_end_is_read_for_a_short_time(answer: object) -> None:
    """What is read in 15 s would take all of a core."""
    with raw_receiver(answer) as port:  # type: ignore[arg-type]
        target, before = local(port), time.thread_time()
        # Python 3.14 has a limit of its own for interim answers: HTTPException.
        with pytest.raises(NotDelivered, match="^its answer (has no end|is not HTTP)$"):
            post(target, BODY, {}, allow_private=True, seconds=15)
    assert time.thread_time() - before < 1


def test_an_interim_answer_comes_before_the_answer() -> None:
    def say(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 204 None\r\n\r\n")

    with raw_receiver(say) as port:
        assert send(local(port)) == HTTPStatus.NO_CONTENT


def test_a_failure_that_is_kept_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []

    def create(*arguments: Any, **options: Any) -> socket.socket:
        opened.append(connect(*arguments, **options))
        return opened[-1]

    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", create)
    with raw_receiver(drip) as port, pytest.raises(NotDelivered) as kept:
        send(local(port))
    assert kept.value and [each.fileno() for each in opened] == [-1]


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize(("answer", "tls"), ENDLESS)
def test_a_receiver_that_never_ends_its_answer_is_cut_off_in_time(
    answer: object, tls: bool
) -> None:
    with raw_receiver(answer) as port:  # type: ignore[arg-type]
        started = time.monotonic()
        with pytest.raises(NotDelivered):
            send(Target(tls, "localhost", port, "/"))
        assert time.monotonic() - started < SECONDS + 1


def test_an_answer_of_gigabytes_is_not_read() -> None:
    def flood(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")
        while True:
            connection.sendall(bytes(2**20))

    with raw_receiver(flood) as port:
        assert send(local(port)) == HTTPStatus.OK


@pytest.mark.parametrize(
    "answer", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 500]
)
def test_a_malformed_answer_is_a_failure(answer: bytes) -> None:
    def say(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    with raw_receiver(say) as port, pytest.raises(NotDelivered):
        send(local(port))


def test_a_port_without_a_server_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NotDelivered):
        send(local(port))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for `localhost`."""
    if shutil.which("openssl") is None:
        assert not os.environ.get("CI"), "openssl is missing"
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(path) + ".key", "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture
def tls_port(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, str(certificate) + ".key")

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            read_request(tls)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with raw_receiver(answer) as port:
        yield port


def test_a_trusted_certificate_is_accepted_and_checked_against_the_name(
    tls_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_module, "_trusted", ssl.create_default_context)
    with pytest.raises(NotDelivered, match="not accepted: self-signed"):
        send(Target(True, "localhost", tls_port, "/"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert send(Target(True, "localhost", tls_port, "/")) == HTTPStatus.OK
    with pytest.raises(NotDelivered, match="not accepted: IP address mismatch"):
        send(Target(True, "127.0.0.1", tls_port, "/"))


def test_a_delivery_leaves_nothing_in_memory(tls_port: int) -> None:
    """Thousands of deliveries come before Python looks for what refers to itself."""
    context = post_module._trusted()

    def is_free() -> bool:
        return not any(type(each) is post_module._Connection for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        with suppress(NotDelivered):
            send(Target(True, "localhost", tls_port, "/"))
        wait_until(is_free)  # the thread of its timer ends
    finally:
        gc.enable()
    assert post_module._trusted() is context

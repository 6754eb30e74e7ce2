"""Redis with TLS: a known authority is needed, and the password goes to no other server."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.jobs import Lane
from shared.redis_client import connect
from shared.settings import Settings
from tests.pipeline.servers.certificates import Authority
from tests.pipeline.servers.flower import broker_page
from tests.support.local_service import local_service
from tests.support.servers.redis_process import KEEPS, RedisProcess
from tests.support.waiting import wait_until
from workers.celery_app import make_celery

pytestmark = pytest.mark.long

PASSWORD = "sesame"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def redis_with_tls(authority: Authority, tmp_path: Path) -> Iterator[RedisProcess]:
    """It asks for a password, and for a certificate of the same authority."""
    program = shutil.which("redis-server")
    if not program or b"libssl" not in subprocess.check_output(["ldd", program]):
        pytest.skip("redis-server is not installed, or has no TLS")
    certificate, key = map(str, authority.issue("127.0.0.1"))
    options = {"tls-cert-file": certificate, "tls-key-file": key}
    options |= {"tls-ca-cert-file": str(authority.file), "requirepass": PASSWORD, "port": "0"}
    client = {"ssl": True, "ssl_ca_certs": str(authority.file), "password": PASSWORD}
    client |= {"ssl_certfile": certificate, "ssl_keyfile": key}
    words = [word for pair in options.items() for word in pair]
    server = RedisProcess(tmp_path / "redis", *KEEPS, *words, tls=True, client=client)
    server.start()
    yield server
    server.stop()


def address(port: int, authority: Authority, client: tuple[Path, Path] | None = None) -> str:
    url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs={authority.file}"
    return url + (f"&ssl_certfile={client[0]}&ssl_keyfile={client[1]}" if client else "")


def test_a_picture_is_classified(
    redis_with_tls: RedisProcess,
    authority: Authority,
    model_environment: dict[str, str],
    tmp_path: Path,
    pictures: list[Path],
) -> None:
    url = address(redis_with_tls.port, authority, authority.issue("client"))
    with local_service(
        tmp_path, model_environment | {"WORKER_PROCESSES": "1"}, redis_url=url
    ) as service:
        service.start_worker(Lane.INTERACTIVE)
        service.start_web()
        service.await_ready()
        picture = pictures[0].read_bytes()
        classify = f"{service.base_url}/api/v1/classify?wait=30"
        answer = httpx.post(classify, content=picture, timeout=60)
        assert answer.status_code == 200 and answer.json()["predictions"], answer.text
        assert "insecure" not in service.log(Lane.INTERACTIVE)


def test_a_certificate_and_its_authority_are_replaced_without_a_restart(
    redis_with_tls: RedisProcess, authority: Authority, tmp_path: Path
) -> None:
    """The steps of docs/secrets.md."""
    url = address(redis_with_tls.port, authority, authority.issue("client"))
    client = connect(url, max_connections=1)

    def reconnects() -> bool:
        client.connection_pool.disconnect()
        celery(url)
        return bool(client.ping())

    assert reconnects()
    old, new = authority.file.read_text(), Authority(tmp_path / "new")
    authority.file.write_text(old + new.file.read_text())
    names = [client.config_get(name)[name] for name in ("tls-cert-file", "tls-key-file")]
    for file, name in zip(new.issue("127.0.0.1"), names, strict=True):
        shutil.copy(file, name)
    client.config_set("tls-cert-file", names[0], "tls-key-file", names[1])
    assert reconnects()
    authority.file.write_text(new.file.read_text())
    assert reconnects()
    authority.file.write_text(old)
    with pytest.raises(RedisConnectionError, match="was refused"):
        reconnects()
    client.connection_pool.disconnect()


class Impostor:
    """A server with TLS that is not ours: it keeps all bytes that clients send it."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        self.received = bytearray()
        self.connections = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with suppress(OSError):
                    self._serve(self._context.wrap_socket(connection, server_side=True))

    def _serve(self, connection: ssl.SSLSocket) -> None:
        with connection:
            connection.settimeout(1)
            while data := connection.recv(4096):
                self.received += data
                connection.sendall(b"+OK\r\n" * data.count(b"*"))


@pytest.fixture(params=["another authority", "another host name"])
def impostor(
    request: pytest.FixtureRequest, authority: Authority, tmp_path: Path
) -> Iterator[Impostor]:
    if request.param == "another host name":
        server = Impostor(authority.issue("redis.example.com"))
    else:
        server = Impostor(Authority(tmp_path / "another").issue("127.0.0.1"))
    yield server
    server.close()


def records(url: str) -> None:
    client = connect(url, max_connections=1)
    with closing(client.connection_pool):
        client.ping()


def celery(url: str) -> None:
    with make_celery(Settings(redis_url=url)).connection_for_write() as connection:
        connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)


def celery_without_options(url: str) -> None:
    celery(url.partition("?")[0])


@pytest.mark.parametrize("program", [records, celery, celery_without_options])
def test_an_impostor_gets_no_password(
    impostor: Impostor, authority: Authority, program: Callable[[str], None]
) -> None:
    with pytest.raises(RedisConnectionError, match="certificate of Redis .* was refused") as raised:
        program(address(impostor.port, authority))
    assert "\n" not in str(raised.value) and PASSWORD not in str(raised.value)
    assert bytes(impostor.received) == b""


@pytest.mark.parametrize("options", ["", "&ssl_cert_reqs=required"])
def test_celery_exporter_gets_its_check_from_the_options_of_the_address(
    impostor: Impostor, authority: Authority, options: str
) -> None:
    """It has kombu as it is, which checks nothing if the address has no option at all."""
    program = "import sys, kombu; kombu.Connection(sys.argv[1]).ensure_connection(max_retries=1)"
    url = address(impostor.port, authority) + options
    command = [sys.executable, "-c", program, url]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "CERTIFICATE_VERIFY_FAILED" in tried.stderr
    assert bytes(impostor.received) == b""


def test_flower_shows_its_broker(redis_with_tls: RedisProcess, authority: Authority) -> None:
    page = broker_page(address(redis_with_tls.port, authority, authority.issue("client")))
    assert page.status_code == 200 and "interactive" in page.text


def test_whoever_turns_the_check_off_gets_what_they_asked_for(
    impostor: Impostor, authority: Authority
) -> None:
    """The other tests can fail: this server does keep what it is sent."""
    records(f"{address(impostor.port, authority)}&ssl_cert_reqs=none")
    assert PASSWORD.encode() in impostor.received


def test_a_worker_says_once_that_the_certificate_was_refused(
    impostor: Impostor, authority: Authority, tmp_path: Path
) -> None:
    """It waits, because the authorities' file may be exchanged while it runs."""
    own = {"REDIS_URL": address(impostor.port, authority), "LOG_FORMAT": "text"}
    command = [sys.executable, "-m", "celery", "-A", "workers.webhooks.app", "worker"]
    own |= {"WEBHOOK_SECRET": f"whsec_{'A' * 32}", "DATA_DIR": str(tmp_path)}
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(command, env=os.environ | own, stdout=output, stderr=output)
    try:
        wait_until(lambda: "waiting for Redis" in log.read_text(), problem=log.read_text)
        tried = impostor.connections
        wait_until(lambda: impostor.connections >= tried + 2)
    finally:
        worker.kill()
        worker.wait()
    [line] = [line for line in log.read_text().splitlines() if "waiting for Redis" in line]
    assert "was refused, and no password was sent" in line and PASSWORD not in log.read_text()
    assert bytes(impostor.received) == b""

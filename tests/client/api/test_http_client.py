"""Addresses, and the proxies and certificates of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import ImageClassifier, ImageClassifierError, NoAnswer, Retries
from client.errors import CannotConnect
from tests.support.ports import free_port
from tests.client.scripted_server import Answer, in_order, scripted_server

#: An address that is reserved for documentation. Nothing is sent to it.
REMOTE = "http://192.0.2.1"

#: Settings with which httpx cannot make a client, or that lead nowhere.
PROXIES = {
    "ALL_PROXY": "socks://127.0.0.1:7890/",
    "all_proxy": "socks5://127.0.0.1:7890/",
    "NO_PROXY": "[::1],127.0.0.1",
    "HTTP_PROXY": "http://127.0.0.1:9",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)


def test_an_address_may_have_no_scheme() -> None:
    with scripted_server(in_order(Answer(200, {}))) as server:
        port = server.url.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost"):
            with ImageClassifier(f"{host}:{port}") as service:
                service.check()
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "url",
    ["ftp://x", " ", "http://", "http:/x", "http://x:99999", "http://a..b", "x\n", "http://[::"],
)
def test_an_address_that_cannot_work_is_refused_at_once(url: str) -> None:
    with pytest.raises(ImageClassifierError, match="address"):
        ImageClassifier(url)


@pytest.mark.parametrize("name", PROXIES)
def test_a_loopback_address_needs_no_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, PROXIES[name])
    with scripted_server(in_order(Answer(200, {}))) as server:
        port = server.url.rpartition(":")[2]
        hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"]
        for host in hosts:
            with ImageClassifier(f"http://{host}:{port}", retries=Retries(total_seconds=0)) as it:
                it.check()
    assert [request.path for request in server.requests] == len(hosts) * ["/api/v1/health"]


@pytest.mark.parametrize("name", [name for name in PROXIES if name != "HTTP_PROXY"])
def test_a_proxy_setting_that_cannot_be_used_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, PROXIES[name])
    with pytest.raises(ImageClassifierError, match="Check HTTP_PROXY, .*ALL_PROXY and NO_PROXY"):
        ImageClassifier(REMOTE)


def test_another_address_is_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(in_order(Answer(200, {}))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with ImageClassifier(REMOTE) as service:
            service.check()
    assert proxy.requests[0].path == f"{REMOTE}/api/v1/health"


def test_missing_certificates_are_reported_where_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path}/missing.pem")
    with pytest.raises(
        ImageClassifierError, match="No such file or directory. Check SSL_CERT_FILE"
    ):
        ImageClassifier("https://192.0.2.1")
    with scripted_server(in_order(Answer(200, {}))) as server:
        with ImageClassifier(server.url) as service:
            service.check()


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with ImageClassifier(REMOTE, retries=Retries(total_seconds=0)) as service:
        with pytest.raises(CannotConnect, match="The proxy of HTTP_PROXY .* add its host to NO_PR"):
            service.check()


def test_a_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(in_order(Answer(403, {}))) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        with ImageClassifier("https://192.0.2.1", retries=Retries(total_seconds=0)) as service:
            with pytest.raises(NoAnswer, match="did not answer through the proxy of ALL_PROXY"):
                service.check()


def test_a_key_log_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", f"{tmp_path}/missing/keys")
    with pytest.raises(ImageClassifierError, match="No such file or directory. .*SSLKEYLOGFILE"):
        ImageClassifier("https://192.0.2.1")


@pytest.mark.parametrize("url", ["::1", "http://::1:8000"])
def test_an_ipv6_address_without_brackets_gets_a_hint(url: str) -> None:
    with pytest.raises(ImageClassifierError, match=r"in brackets: http://\[::1\]:8000"):
        ImageClassifier(url)


def test_an_ipv6_address_in_brackets_is_called() -> None:
    with ImageClassifier(f"[::1]:{free_port()}", retries=Retries(total_seconds=0)) as service:
        with pytest.raises(CannotConnect, match=r"Nothing answers at http://\[::1\]:"):
            service.check()

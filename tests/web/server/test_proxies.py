"""A client behind a proxy is its address, however the proxy writes it."""

from __future__ import annotations

from typing import Any

import pytest

from web.server.addresses import client_at
from web.server.proxies import Proxies

PROXY = "10.0.0.1"


def passed_on(trusted: int = 1, **headers: str) -> dict[str, Any]:
    """What the application gets from a proxy at PROXY."""
    environ = {"REMOTE_ADDR": PROXY, "wsgi.url_scheme": "http"}
    environ |= {f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in headers.items()}
    Proxies(lambda *_: [], trusted=trusted)(environ, lambda *_: lambda _: None)
    return environ


def client_in(header: str, trusted: int = 1) -> str:
    return client_at(passed_on(trusted, **{"for": header})["REMOTE_ADDR"])


@pytest.mark.parametrize(
    "entry",
    ["192.0.2.7", " 192.0.2.7 ", "192.0.2.7:5678", "192.0.2.7:", "::ffff:192.0.2.7"]
    + ["[::ffff:192.0.2.7]:99", "::FFFF:c000:207", "198.51.100.1, 192.0.2.7:1"],
)
def test_each_spelling_of_an_ipv4_address_is_one_client(entry: str) -> None:
    assert client_in(entry) == "address 192.0.2.7"


@pytest.mark.parametrize(
    "entry",
    ["2001:db8::1", "2001:DB8:0:0:1::2", "[2001:db8::3]", "[2001:db8::4]:99", "2001:db8::5%eth0"]
    + ["[2001:db8::6%25eth1]:7", "192.0.2.1,[2001:db8::7]:1"],
)
def test_each_spelling_of_an_ipv6_address_is_its_network(entry: str) -> None:
    assert client_in(entry) == "address 2001:db8::/64"


@pytest.mark.parametrize(
    "entry",
    ["", "unknown", "_hidden", "_hidden:1", "[]", "[]:1", ":", "1.2.3", "01.02.03.04", "1.2.3.4:x"]
    + ["[1.2.3.4", "a" * 5000, "192.0.2.7, unknown", "192.0.2.7,", '"1.2.3.4"', "\xe9", "[::1]x"],
)
def test_what_is_no_address_counts_for_the_proxy(entry: str) -> None:
    assert client_in(entry) == f"address {PROXY}"


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("192.0.2.1, 192.0.2.2", "192.0.2.1"),
        ("192.0.2.9, 192.0.2.1, 192.0.2.2", "192.0.2.1"),
        ('"192.0.2.9, 192.0.2.1, 192.0.2.2', "192.0.2.1"),
        ("192.0.2.1", PROXY),
    ],
)
def test_the_outermost_of_two_proxies_names_the_client(header: str, address: str) -> None:
    assert client_in(header, trusted=2) == f"address {address}"


@pytest.mark.parametrize(
    ("header", "scheme"), [("https", "https"), ("http, https", "https"), ("javascript", "http")]
)
def test_the_last_proxy_names_the_scheme(header: str, scheme: str) -> None:
    assert passed_on(proto=header)["wsgi.url_scheme"] == scheme

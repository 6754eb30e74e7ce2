"""The name by which limits for one client count."""

from __future__ import annotations

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from web.http import auth, clients


def name(address: str | None, key: str | None = None) -> str:
    environ = EnvironBuilder().get_environ()
    environ["REMOTE_ADDR"] = address
    if key:
        environ[auth.OWNER] = key
    return clients.name_of(Request(environ))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "address 192.0.2.7"),
        # A customer of a provider has all addresses of a network, and could use each once.
        ("2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "address 2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "address 192.0.2.7"),
        (None, "address "),
    ],
)
def test_a_client_without_a_key_is_its_address(address: str | None, expected: str) -> None:
    assert name(address) == expected


def test_a_client_with_a_key_is_that_key_wherever_it_asks_from() -> None:
    assert name("192.0.2.7", "anna") == name("192.0.2.8", "anna") == "key anna"


@pytest.mark.parametrize(
    ("address", "forwarded", "local"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("::ffff:127.0.0.1", None, True),
        ("::ffff:192.0.2.7", None, False),
        ("192.0.2.7", None, False),
        ("127.0.0.1", "192.0.2.7", False),  # a proxy on this machine
        (None, None, False),
    ],
)
def test_a_client_of_this_machine(address: str | None, forwarded: str | None, local: bool) -> None:
    environ = EnvironBuilder().get_environ()
    environ["REMOTE_ADDR"] = address
    if forwarded:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    assert clients.is_local(Request(environ)) is local

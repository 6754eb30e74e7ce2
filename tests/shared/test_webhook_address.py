"""Checks of a webhook's address."""

from __future__ import annotations

import ipaddress

import pytest

from shared.addresses import webhook_address
from shared.errors import InvalidWebhook
from shared.addresses.webhook_address import Target

PRIVATE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "192.0.0.8", "198.18.0.1", "224.0.0.1", "239.1.1.1"),
    *("240.0.0.1", "255.255.255.255", "192.0.2.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "2001:db8::1", "100::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_and_special_addresses_are_not_public(address: str) -> None:
    assert not webhook_address.is_public(ipaddress.ip_address(address))
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    with pytest.raises(InvalidWebhook):
        webhook_address.check(url, allow_private=False)


@pytest.mark.parametrize(
    "host",
    [
        *("127.1", "0x7f000001", "2130706433", "017700000001", "10.1", "127.0.0.1.", "0"),
        *("localhost", "LocalHost", "localhost.", "service.localhost"),
    ],
)
def test_a_private_address_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(InvalidWebhook, match="WEBHOOK_ALLOW_PRIVATE"):
        webhook_address.check(f"http://{host}:8080/hook", allow_private=False)
    webhook_address.check(f"http://{host}:8080/hook", allow_private=True)


@pytest.mark.parametrize("host", ["134744072", "1.1", "localhost.example.com", "127.0.0.1.nip.io"])
def test_other_hosts_pass_until_their_delivery(host: str) -> None:
    webhook_address.check(f"http://{host}/", allow_private=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1"])
def test_other_addresses_are_public(address: str) -> None:
    assert webhook_address.is_public(ipaddress.ip_address(address))
    url = f"https://[{address}]/" if ":" in address else f"https://{address}/"
    webhook_address.check(url, allow_private=False)


def test_a_private_address_passes_if_private_addresses_are_allowed() -> None:
    webhook_address.check("http://127.0.0.1:8080/hook", allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.com/hook", "//example.com/", "ftp://example.com/", "file:///etc/passwd"),
        *("https://", "https:///hook", "https://user:password@example.com/", "https://a@b.com/"),
        *("https://example.com:25/", "https://example.com:0x50/", "https://example.com:99999/"),
        *(
            "http://example.com\\@127.0.0.1/",
            "http://example.com/\r\nHost: a",
            "http://exämple.com",
        ),
        *("http://example.com/a b", "http://[::1", "https://example.com/" + "a" * 2048),
    ],
)
def test_a_malformed_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidWebhook):
        webhook_address.check(url, allow_private=True)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target(True, "example.com", 443, "/")),
        ("http://Example.com:8080/a?b=c&d", Target(False, "example.com", 8080, "/a?b=c&d")),
        ("https://[2606:2800::1]:8443/x", Target(True, "2606:2800::1", 8443, "/x")),
    ],
)
def test_an_address_is_split_into_its_parts(url: str, target: Target) -> None:
    assert webhook_address.target(url) == target

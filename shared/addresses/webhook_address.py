"""Checks of a webhook's address. Uses neither Redis nor the network."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from shared.errors import InvalidWebhook

_LONGEST_URL = 2048
#: The characters of RFC 3986. URL parsers disagree about any other character.
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")

#: Below port 1024 only HTTP's ports are allowed: a webhook must not reach a mail or login server.
_WEB_PORTS = {"http": 80, "https": 443}
_LEAST_PORT = 1024

#: All version 6 addresses that are routed today. The others are local, reserved, or stand for a
#: version 4 address.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")

#: Networks for special use that `is_global` of some Python versions does not exclude.
_SPECIAL = [ipaddress.IPv4Network(each) for each in ("192.0.0.0/24", "192.88.99.0/24")]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Target(NamedTuple):
    """The parts of a webhook's address that a connection needs."""

    tls: bool
    host: str
    port: int
    path: str  #: With its query.


def target(url: str) -> Target:
    """Split a webhook's address. Raises InvalidWebhook.

    The host may be a name. `is_public` decides about its addresses once they are known.
    """
    if len(url) > _LONGEST_URL or not _URL.fullmatch(url):
        raise InvalidWebhook(
            f"webhook: Send a URL of at most {_LONGEST_URL} characters, all of them ASCII."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidWebhook("webhook: This is not a valid URL.") from error
    if parts.scheme not in _WEB_PORTS or not parts.hostname:
        raise InvalidWebhook("webhook: The URL must begin with https:// or http:// and a host.")
    if "@" in parts.netloc:
        raise InvalidWebhook("webhook: The URL must not contain a user name or a password.")
    port = port or _WEB_PORTS[parts.scheme]
    if port < _LEAST_PORT and port not in _WEB_PORTS.values():
        raise InvalidWebhook(f"webhook: The port must be 80, 443, or {_LEAST_PORT} or higher.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", parts.hostname, port, path)


def check(url: str, *, allow_private: bool) -> None:
    """Refuse a webhook at submission if its delivery would be refused. Raises InvalidWebhook."""
    host = target(url).host
    if allow_private or not _is_private(host):
        return  # The worker resolves a name and checks its addresses at each delivery.
    raise InvalidWebhook(
        f"webhook: {host} is no public address. Send a public one, or have the operator set "
        "WEBHOOK_ALLOW_PRIVATE=true."
    )


def _is_private(host: str) -> bool:
    """Whether the host leads to a private address whatever a name server says."""
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not is_public(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:  # resolvers also know version 4 addresses like 127.1, 0x7f000001 and 2130706433
        return not is_public(ipaddress.IPv4Address(socket.inet_aton(host)))
    except (OSError, UnicodeError):
        return False


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet and has no special use."""
    if isinstance(address, ipaddress.IPv6Address):
        # A tunnel address leads to a version 4 address that was not checked.
        leads_on = address.sixtofour or address.teredo
        return address in _GLOBAL_UNICAST and address.is_global and not leads_on
    special = address.is_multicast or any(address in network for network in _SPECIAL)
    return address.is_global and not special

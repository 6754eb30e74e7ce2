"""Who sends a request: its API key, or its address. Limits for one client count by this name."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

from werkzeug.wrappers import Request

from web.http import auth

#: One customer of a provider usually has all addresses of such a network.
_IPV6_PREFIX = 64


def name_of(request: Request) -> str:
    """`key <name>`, or `address <address>` if the request came without an API key."""
    if key := request.environ.get(auth.OWNER):
        return f"key {key}"
    return f"address {_network(request.remote_addr or '')}"


def _network(address: str) -> str:
    try:
        ip = ip_address(address)
    except ValueError:  # a socket has none
        return address
    if not isinstance(ip, IPv6Address) or ip.ipv4_mapped:
        return address
    return str(IPv6Network((int(ip), _IPV6_PREFIX), strict=False))

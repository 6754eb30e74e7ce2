"""The address of a client, as limits for one client count it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

#: One customer of a provider usually has all addresses of such a network.
_IPV6_PREFIX = 64


@lru_cache(4096)  # a request would take four microseconds more
def network_of(address: str) -> str:
    """An IPv4 address, also one that is written as IPv6, or the network of an IPv6 address."""
    try:
        ip = ip_address(address)
    except ValueError:  # a socket has none
        return address
    if not isinstance(ip, IPv6Address):
        return address
    return str(ip.ipv4_mapped or IPv6Network((int(ip), _IPV6_PREFIX), strict=False))


def client_at(address: str) -> str:
    """The name of a client without an API key."""
    return f"address {network_of(address)}"

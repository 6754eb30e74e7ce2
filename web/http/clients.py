"""Who sends a request: its API key, or its address. Limits for one client count by this name."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

from werkzeug.wrappers import Request

from web.http import auth
from web.http.api_keys import ApiKey, Limits
from web.server.addresses import client_at


class Client(NamedTuple):
    name: str
    limits: Limits = Limits()  #: Of its API key.


#: A client that is not known. Nothing counts for it.
NOBODY = Client("")


def of(request: Request) -> Client:
    key: ApiKey | None = request.environ.get(auth.KEY)
    return Client(name_of(request), key.limits if key else Limits())


def name_of(request: Request) -> str:
    """`key <name>`, or `address <address>` if the request came without an API key."""
    if key := request.environ.get(auth.OWNER):
        return f"key {key}"
    return client_at(request.remote_addr or "")


#: A proxy sets at least one of these. Behind one on this machine, all clients look local.
_OF_PROXIES = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via")


def is_local(request: Request) -> bool:
    """Whether the client is a program on this machine, as far as the connection shows."""
    if any(name in request.headers for name in _OF_PROXIES):
        return False
    try:
        ip = ip_address(request.remote_addr or "")
    except ValueError:
        return False
    # On a socket for IPv6, an IPv4 address is written as IPv6. Python before 3.13 takes none of
    # those for a loopback address.
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback

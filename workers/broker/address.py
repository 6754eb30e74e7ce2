"""REDIS_URL for kombu, which has its own names for a socket, its database, TLS and Sentinel."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from kombu.utils.url import as_url

from shared.addresses.redis_address import RedisAddress, parse
from shared.redis_client.connections import MasterFinder

#: Seconds for an answer of Sentinel.
_SENTINEL_SECONDS = 1.0


class Broker(NamedTuple):
    """The settings of Celery that name the broker."""

    url: str
    #: `broker_use_ssl`: None without TLS. kombu checks no certificate where this is empty.
    tls: dict[str, Any] | None
    #: More of `broker_transport_options`.
    options: dict[str, Any]


def broker(url: str) -> Broker:
    """Raises ValueError where the URL is not valid."""
    address = parse(url)
    if address.is_socket:
        url = url.replace("unix", "redis+socket", 1)
        return Broker(re.sub(r"(?<=[?&])db=", "virtual_host=", url), None, {})
    if address.sentinels:
        return Broker(_url("sentinel", address), address.tls, _sentinel_options(address))
    return Broker(_url("rediss" if address.tls else "redis", address), address.tls, {})


def _sentinel_options(address: RedisAddress) -> dict[str, Any]:
    assert address.sentinels
    return {
        "find_master": MasterFinder(address, timeout_seconds=_SENTINEL_SECONDS),
        # Flower reads these.
        "master_name": address.sentinels.master,
        "sentinel_kwargs": address.sentinels.login
        | ({"ssl": True} | address.tls if address.tls else {}),
    }


def _url(scheme: str, address: RedisAddress) -> str:
    options = address.options
    host, port = options.get("host"), options.get("port", 6379)
    if address.sentinels:
        host, port = address.sentinels.hosts[0]
    login = options.get("username"), options.get("password")
    return str(as_url(scheme, host, port, *login, path=str(options.get("db", 0))))

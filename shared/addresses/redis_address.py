"""The address of Redis. Everything that connects to Redis reads REDIS_URL here.

| form | server |
|---|---|
| `redis://USER:PASSWORD@HOST:6379/0` | Redis; the number is its database |
| `unix:///PATH?db=0` | Redis at a socket |
| `sentinel://USER:PASSWORD@HOST:26379,HOST:26379/NAME/0` | what Sentinel calls NAME |

`rediss://` and `sentinels://` use TLS and check the server's certificate. Their options stand after
a question mark: `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` name files, and
`ssl_cert_reqs=none` turns the check off. With Sentinel, `sentinel_username` and `sentinel_password`
log in to Sentinel itself. A host can be an IPv6 address in brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

#: With the scheme that redis-py reads. Sentinel's schemes are ours.
_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "sentinel": "redis",
    "sentinels": "rediss",
}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_PORT = 26379

Host = tuple[str, int]


@dataclass(frozen=True)
class Sentinels:
    """Where Sentinel is, and what to ask it for."""

    hosts: list[Host]
    master: str  #: The name that Sentinel has for the group of servers.
    login: dict[str, str] = field(default_factory=dict)  #: As redis-py names it.


@dataclass(frozen=True)
class RedisAddress:
    """An address in its parts."""

    url: str
    #: redis-py's options of a connection: `host`, `port`, `path`, `db`, `username`, `password` and
    #: others, but none for TLS.
    options: dict[str, Any]
    #: redis-py's options for TLS. None without TLS.
    tls: dict[str, Any] | None
    sentinels: Sentinels | None

    @property
    def is_socket(self) -> bool:
        return "path" in self.options


def parse(url: str) -> RedisAddress:
    """Raises ValueError with a text that shows no password."""
    # Not at the top: web reads the settings before gevent replaces `ssl`, which redis-py imports.
    from redis.connection import parse_url

    scheme, url_of_redis, sentinels = _checked(url)
    options: dict[str, Any] = parse_url(url_of_redis)  # type: ignore[no-untyped-call]
    options.pop("connection_class", None)
    if sentinels:
        for name in ("username", "password"):
            if value := options.pop(f"sentinel_{name}", None):
                sentinels.login[name] = value
    tls = {name: options.pop(name) for name in list(options) if name.startswith("ssl_")}
    if scheme == "rediss":
        return RedisAddress(url, options, {"ssl_cert_reqs": "required"} | tls, sentinels)
    return RedisAddress(url, options, None, sentinels)


def valid(url: str) -> str:
    """The same URL. Raises ValueError with a text that shows no password."""
    _checked(url)
    return url


def _checked(url: str) -> tuple[str, str, Sentinels | None]:
    """The scheme and the address of a Redis as redis-py takes them, and Sentinel."""
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        raise ValueError(f"must start with one of {', '.join(f'{each}://' for each in _SCHEMES)}")
    sentinels = None
    if scheme.startswith("sentinel"):
        sentinels, rest = _sentinels(rest)
    of_redis = f"{_SCHEMES[scheme]}://{rest}"
    parts = urlsplit(of_redis)
    _check_port_and_database(of_redis, parts)
    tls = {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl_")}
    if _SCHEMES[scheme] == "rediss":
        _check_files(tls)
    elif tls:
        raise ValueError(f"has {next(iter(tls))}, and {scheme}:// has no TLS: use {scheme}s://")
    return _SCHEMES[scheme], of_redis, sentinels


def _check_port_and_database(url: str, parts: SplitResult) -> None:
    path = parts.path.strip("/")
    try:
        # Python's own error shows the text, which may be the end of a password.
        bad_port = bool(parts.fragment) or parts.port == 0
    except ValueError:
        bad_port = True
    if bad_port:
        raise ValueError(
            "has a port that is no number: write a special character of a password as %XX, "
            "such as %23 for #"
        )
    # redis-py takes a path that is no number for database 0.
    if not url.startswith("unix:") and path and not path.isdecimal():
        raise ValueError("must end with the number of a database, such as /0")


def _sentinels(rest: str) -> tuple[Sentinels, str]:
    """Sentinel's part of an address, and the address of a Redis that is left without it."""
    match = re.fullmatch(r"(.*@)?([^/?@]*)/([^/?]+)(/\d+)?/?(\?.*)?", rest)
    if not match:
        raise ValueError(
            "must name what Sentinel calls the servers, such as sentinel://HOST:26379/mymaster"
        )
    login, hosts, name, database, query = (each or "" for each in match.groups())
    found = Sentinels([_host(each) for each in hosts.split(",")], unquote(name))
    return found, f"{login}sentinel{database}{query}"


def _host(text: str) -> Host:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ValueError(f"has the Sentinel {text!r}: write HOST:26379")
    return unquote(host), port or _SENTINEL_PORT


def _check_files(tls: dict[str, Any]) -> None:
    for name in _FILES:
        if name in tls and not Path(tls[name]).is_file():
            raise ValueError(f"has {name}={tls[name]}, and there is no such file")

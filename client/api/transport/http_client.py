"""The HTTP client for an address, with the proxies and certificates that the environment sets."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.request import getproxies, proxy_bypass

import httpx

from ...errors import ImageClassifierError

C = TypeVar("C", httpx.Client, httpx.AsyncClient)

#: The longest wait for the next byte. The service holds an answer for less than a minute.
TIMEOUT_SECONDS = 75.0
_CONNECT_SECONDS = 5.0


def http_client(url: str, headers: Mapping[str, str]) -> httpx.Client:
    """Raises ImageClassifierError if the address, a proxy or the certificates cannot be used."""
    return _make(httpx.Client, url, headers)


def async_http_client(url: str, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """The same client for an event loop."""
    return _make(httpx.AsyncClient, url, headers)


def _make(kind: Callable[..., C], url: str, headers: Mapping[str, str]) -> C:
    address = _address(url)
    certificates = _certificates(address)
    try:
        return kind(
            base_url=address,
            headers=headers,
            timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=_CONNECT_SECONDS),
            # One connection for each thread that calls.
            limits=httpx.Limits(max_keepalive_connections=None, keepalive_expiry=30),
            verify=certificates,
            trust_env=not _is_this_machine(address.host),
        )
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise ImageClassifierError(
            f"The proxy settings of the environment cannot be used: {error}."
            " Check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."
        ) from error


def proxy_variable(url: httpx.URL) -> str | None:
    """The variable that names the proxy for an address; None if it is reached directly."""
    if _is_this_machine(url.host) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    return next((f"{each.upper()}_PROXY" for each in (url.scheme, "all") if each in proxies), None)


def _address(url: str) -> httpx.URL:
    """The URL of a service. Without a scheme, it is http."""
    try:
        address = httpx.URL(url if "://" in url else f"http://{url}")
        address.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as error:
        hint = " Write an IPv6 address in brackets: http://[::1]:8000." if "::" in url else ""
        raise ImageClassifierError(f"{url!r} is not a valid address: {error}.{hint}") from error
    # `http:/host` has no `://`, so `http` would be its host.
    host_is_wrong = address.host in ("", "http", "https") or " " in url
    if host_is_wrong or address.scheme not in ("http", "https") or (address.port or 1) > 65535:
        raise ImageClassifierError(f"{url!r} is not an address like http://host:port.")
    return address


def _certificates(address: httpx.URL) -> ssl.SSLContext:
    if address.scheme == "http":
        # Loading the certificates takes 20 ms, and http does not need them.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ImageClassifierError(
            f"The certificates cannot be read: {error.strerror or error}."
            " Check SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE."
        ) from error


def _is_this_machine(host: str) -> bool:
    """Whether it is a loopback address, which no proxy can reach."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")
    # A connection to 0.0.0.0 goes to this machine, too.
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified

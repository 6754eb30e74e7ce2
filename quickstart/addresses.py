"""The addresses at which the quick start's programs are reached, and a client for this machine."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping

import httpx

from shared.addresses.hosts import in_url
from shared.settings import Settings

#: An address for documentation. Nothing is sent to it.
_ELSEWHERE = ("192.0.2.1", 9)


def api_url(settings: Settings) -> str:
    return f"http://{in_url(_reachable(settings.host))}:{settings.web_port}"


def flower_url(settings: Settings) -> str:
    return f"http://{in_url(_reachable(settings.host))}:{settings.flower_port}"


def network_url(settings: Settings) -> str | None:
    """The address for other machines, if the service listens on every address."""
    if not _is_unspecified(settings.host):
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chosen:
        try:
            chosen.connect(_ELSEWHERE)  # the system chooses the address of this machine
        except OSError:
            return None
        return f"http://{chosen.getsockname()[0]}:{settings.web_port}"


def local_client(
    url: str = "", *, timeout: float, headers: Mapping[str, str] | None = None
) -> httpx.Client:
    """A client of a service on this machine. Variables such as HTTP_PROXY do not reach it."""
    # Loading the certificates would read SSL_CERT_FILE and SSLKEYLOGFILE, and http needs none.
    none = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(
        base_url=url, timeout=timeout, headers=headers, trust_env=False, verify=none
    )


def _reachable(host: str) -> str:
    """The address to call for an address to listen on. `0.0.0.0` listens on every address."""
    if not _is_unspecified(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False

"""The names that a server answers to, and the web pages that may use it.

A page of another site can point its own name to this machine (DNS rebinding). The browser then
takes the server for a part of that site, and lets the page read every answer. But each of its
requests has the page's name in `Host`. No page can do this with `localhost` or an IP address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

#: In a list of names or origins: all of them.
ANY = "*"

#: Decisions that are remembered. A service has a few names; the others are those of an attacker.
_REMEMBERED = 256

_NAME = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#\s@]+")


class AllowedHosts:
    """Decides whether a server answers a request, by the header `Host`.

    `localhost`, the names below it and every IP address are always allowed, and so are `names`.
    `*.example.com` means all names below `example.com`, and `*` means every name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = {"localhost", "*.localhost", *names}
        self._any = ANY in names
        self._names = {name for name in names if not name.startswith("*.")}
        self._endings = tuple(name.removeprefix("*") for name in names if name.startswith("*."))
        #: Whether a request with this `Host` is answered. Only a browser can be misled, and every
        #: browser sends the header, so a request without it is answered.
        self.allow = lru_cache(maxsize=_REMEMBERED)(self._allow)

    def _allow(self, header: str | None) -> bool:
        if self._any or not header:
            return True
        name = name_in(header)
        return name in self._names or name.endswith(self._endings) or _is_address(name)


def name_in(header: str) -> str:
    """The name or address in a header `Host`, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host in a URL is this machine."""
    if _is_address(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def in_url(host: str) -> str:
    """The host as a URL has it: an IPv6 address is in brackets."""
    return f"[{host}]" if ":" in host else host


def _host(text: str) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    if not (_is_address(host) or re.fullmatch("[A-Za-z0-9_.-]+", host)):
        raise ValueError("write an address or a name, without a scheme, a port or a path")
    return host


def _split(text: object) -> object:
    """The lower-case words of a list with commas. Other values are left to pydantic."""
    if not isinstance(text, str):
        return text
    return [each.strip().lower().rstrip("/") for each in text.split(",") if each.strip()]


def _names(value: object) -> object:
    return _checked(_split(value), _NAME, "host names without a scheme or a port")


def _origins(value: object) -> object:
    return _checked(_split(value), _ORIGIN, "origins such as https://example.com")


def _checked(value: object, pattern: re.Pattern[str], meant: str) -> object:
    if isinstance(value, list) and not all(pattern.fullmatch(each) for each in value):
        raise ValueError(f"write {meant}, separated by commas")
    return value


#: Type of a setting: an address or a name to listen on. An IPv6 address may be in brackets.
Host = Annotated[str, AfterValidator(_host)]

#: Types of settings: text in the environment, a tuple in the program.
HostNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)]

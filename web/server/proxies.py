"""The address of a client behind proxies that are trusted.

Each proxy adds the address of its own client to `X-Forwarded-For`. A client may send the header,
too, so only the last entries count. Only these are read: the header may have 56 KB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: Some proxies add the port of the connection, which is another one each time.
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d*)?|([^:]*):\d*")


class Proxies:
    """Middleware: puts the client's address and scheme into the WSGI environment.

    The address of the proxy stays where the header names none. All clients without an address are
    one client then. Otherwise an attacker would be a new client with each spelling.
    """

    def __init__(self, app: WSGIApplication, *, trusted: int) -> None:
        """`trusted` is the number of proxies."""
        self._app = app
        self._trusted = trusted

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if address := _address_in(self._entry(environ)):
            environ["REMOTE_ADDR"] = address
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        return self._app(environ, start)

    def _entry(self, environ: WSGIEnvironment) -> str:
        """What the outermost proxy has added; empty if some proxy has added nothing."""
        entries = environ.get("HTTP_X_FORWARDED_FOR", "").rsplit(",", self._trusted)
        return entries[-self._trusted].strip() if len(entries) >= self._trusted else ""


def _address_in(entry: str) -> str | None:
    """The address without brackets, port and zone; None if there is none."""
    match = _WITH_PORT.fullmatch(entry)
    address = (match[1] or match[2] or "") if match else entry
    try:
        return str(ip_address(address.partition("%")[0]))
    except ValueError:
        return None

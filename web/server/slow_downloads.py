"""A stream that nobody reads is ended: a client must not hold a connection for ever.

The counterpart of web.server.slow_uploads. What is not read stays with whoever makes it, so a slow
reader costs one piece of memory; one that stands still for longer than this costs nothing any more.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from flask import request

from web.submit.service import service

#: Bytes that the kernel takes before they can leave. By itself it takes megabytes for each slow
#: reader, and asks for more only when a third of them has gone: it would look like standing still.
_UNSENT_BYTES = 2**17


def paced(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces, of which each must be taken in time.

    gunicorn's send raises TimeoutError otherwise, and the gunicorn worker closes the connection.
    """
    client: socket.socket | None = request.environ.get("gunicorn.socket")
    return _paced(pieces, client, service().settings.slow_download_seconds) if client else pieces


def _paced(pieces: Iterator[bytes], client: socket.socket, seconds: float) -> Iterator[bytes]:
    client.settimeout(seconds)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    yield from pieces
    client.settimeout(None)  # the connection may carry other requests

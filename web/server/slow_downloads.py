"""A client that does not read its stream loses its connection, so that it cannot hold it for ever.

This is the counterpart of web.server.slow_uploads. A piece is made when the one before it has been
sent, so a slow client costs the memory of one piece.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

#: Bytes that the kernel buffers for a client. By default it buffers megabytes, and asks for more
#: only when a third of them has left. A slow client would then look like one that does not read.
#: Hundreds of connections that read nothing would take gigabytes.
_UNSENT_BYTES = 2**17

#: Bytes that the kernel buffers of what a client sends, until they are read. By default it buffers
#: up to tens of megabytes of a client that has sent fast.
_UNREAD_BYTES = 2**18


def buffer_little(client: socket.socket) -> None:
    """Let the kernel buffer few bytes that the client does not read, or that web does not."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UNREAD_BYTES)
    with suppress(OSError):  # a Unix socket does not have this option
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def bounded(
    pieces: Iterator[bytes], client: socket.socket | None, *, seconds: float
) -> Iterator[bytes]:
    """The same pieces. `client` must take each within `seconds`; None sets no limit.

    gunicorn's send raises TimeoutError otherwise, and the gunicorn worker closes the connection.
    """
    return _bounded(pieces, client, seconds) if client else pieces


def _bounded(pieces: Iterator[bytes], client: socket.socket, seconds: float) -> Iterator[bytes]:
    client.settimeout(seconds)
    yield from pieces
    client.settimeout(None)  # the connection may carry other requests

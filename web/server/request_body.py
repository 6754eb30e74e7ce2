"""A request's body, read past gunicorn's buffers, which would copy it several times."""

from __future__ import annotations

import socket

from gunicorn.http.body import Body, LengthReader


def read_into(
    body: Body, client: socket.socket, buffer: bytearray | memoryview, flags: int = 0
) -> int:
    """Bytes read: as many as `buffer` holds, fewer where the body ends or the client has gone.

    One of known length comes from the socket itself; `flags` are recv(2)'s. The body keeps count,
    whenever this is interrupted: gunicorn finds the next request where it ends.
    """
    if isinstance(body.reader, LengthReader):
        return _read_from_socket(body.reader, client, buffer, flags)
    data = body.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)


def _read_from_socket(
    reader: LengthReader, client: socket.socket, buffer: bytearray | memoryview, flags: int
) -> int:
    view = memoryview(buffer)[: reader.length]
    got = _read_ahead(reader, view)
    while got < len(view):
        more = client.recv_into(view[got:], 0, flags)
        if not more:
            break
        reader.length -= more
        got += more
    return got


def _read_ahead(reader: LengthReader, view: memoryview) -> int:
    """What gunicorn's parser has read beyond the head, as far as it is of this body."""
    buffered = reader.unreader.take_buffered()
    if not buffered:
        return 0
    got = min(len(view), len(buffered))
    view[:got] = buffered[:got]
    reader.unreader.unread(buffered[got:])
    reader.length -= got
    return got

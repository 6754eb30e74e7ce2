"""Reads a request's body from the socket itself. gunicorn's buffers would copy it several times."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import BadRequest

#: Chunks that are read at once, and the longest time for them. A chunk takes some microseconds, and
#: may have a single byte. One with an extension of 8 KB takes half a millisecond.
_CHUNKS = 64
_SECONDS = 0.001

_MALFORMED = (
    "The chunks of the body are malformed, or the last one is missing. Send the request again, or "
    "send the body with a Content-Length."
)


def give_way(body: Body, wait: Callable[[], None]) -> None:
    """Call `wait` before every few chunks of a body in chunks, so that other clients run.

    gunicorn reads as many as fill a buffer, and gevent switches only where nothing has come.
    """
    if isinstance(body.reader, ChunkedReader):
        body.reader.parser = _giving_way(body.reader.parser, wait)


def _giving_way(chunks: Iterator[bytes], wait: Callable[[], None]) -> Iterator[bytes]:
    wait()
    began = time.perf_counter()
    for count, chunk in enumerate(chunks, 1):
        yield chunk
        if count % _CHUNKS == 0 or time.perf_counter() - began > _SECONDS:
            wait()
            began = time.perf_counter()


def read_into(
    body: Body, client: socket.socket, buffer: bytearray | memoryview, flags: int = 0
) -> int:
    """Fill `buffer` and return its length, or less if the body ends or the client has gone.

    A body of known length comes from the socket itself, with `flags` of recv(2). Others come from
    gunicorn. An exception may interrupt this at any point: the body's own count stays right, so
    gunicorn finds the next request.

    Raises BadRequest if the body is in malformed chunks. The connection ends with the answer then.
    """
    if isinstance(body.reader, LengthReader):
        return _read_from_socket(body.reader, client, buffer, flags)
    try:
        data = body.read(len(buffer))
    except (NoMoreData, ParseException) as error:
        body.reader.req.force_close()  # nobody knows where the next request begins
        raise BadRequest(_MALFORMED) from error
    buffer[: len(data)] = data
    return len(data)


def has_ended(body: Body) -> bool:
    """Whether all of a body of known length was read."""
    return isinstance(body.reader, LengthReader) and not body.reader.length


def _read_from_socket(
    reader: LengthReader, client: socket.socket, buffer: bytearray | memoryview, flags: int
) -> int:
    view = memoryview(buffer)[: reader.length]
    size = _take_read_ahead(reader, view)
    while size < len(view):
        more = client.recv_into(view[size:], 0, flags)
        if not more:
            break
        reader.length -= more
        size += more
    return size


def _take_read_ahead(reader: LengthReader, view: memoryview) -> int:
    """Take the bytes of this body that gunicorn's parser has read with the head."""
    buffered = reader.unreader.take_buffered()
    if not buffered:
        return 0
    size = min(len(view), len(buffered))
    view[:size] = buffered[:size]
    reader.unreader.unread(buffered[size:])
    reader.length -= size
    return size

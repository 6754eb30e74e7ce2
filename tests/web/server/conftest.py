"""Requests as gunicorn hands them to the application, from a connected client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from gevent import socket
from gunicorn.config import Config
from gunicorn.http import get_parser

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


class Connection(NamedTuple):
    client: Any  #: The client's end.
    far: Any  #: The service's end.
    parser: Any  #: gunicorn's parser of it.


@pytest.fixture
def connect() -> Iterator[Callable[[], Connection]]:
    """Makes connections of gevent's sockets."""
    with ExitStack() as open_sockets:

        def make() -> Connection:
            client, far = socket.socketpair()
            open_sockets.enter_context(client)
            open_sockets.enter_context(far)
            return Connection(client, far, get_parser(Config(), far, ("127.0.0.1", 1)))

        yield make

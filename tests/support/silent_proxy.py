"""A network that swallows everything, as behind a firewall that drops packets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class SilentProxy:
    """Takes connections, counts them and never says a word."""

    def __init__(self, server: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{server.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        self._server = server

    def take(self) -> None:
        with suppress(OSError):  # The server is closed.
            while True:
                self.connections.append(self._server.accept()[0])


@contextmanager
def silent_proxy() -> Iterator[SilentProxy]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = SilentProxy(server)
        taking = threading.Thread(target=proxy.take)
        taking.start()
        try:
            yield proxy
        finally:
            server.shutdown(socket.SHUT_RDWR)
            taking.join()
            for connection in proxy.connections:
                connection.close()

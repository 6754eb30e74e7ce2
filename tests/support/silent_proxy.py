"""A proxy that never answers, like a network whose firewall drops all packets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class SilentProxy:
    """Accepts connections, keeps them and sends nothing."""

    def __init__(self, server: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{server.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        self._server = server

    def accept(self) -> None:
        with suppress(OSError):  # The server is closed.
            while True:
                self.connections.append(self._server.accept()[0])


@contextmanager
def silent_proxy() -> Iterator[SilentProxy]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = SilentProxy(server)
        accepting = threading.Thread(target=proxy.accept)
        accepting.start()
        try:
            yield proxy
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in proxy.connections:
                connection.close()

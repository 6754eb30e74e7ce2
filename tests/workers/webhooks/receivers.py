"""Receivers of webhooks: real servers on loopback."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Delivery:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


@dataclass
class Receiver:
    """Records deliveries, and answers with one status after the other. The last one repeats."""

    port: int
    statuses: list[int]
    headers: dict[str, str]  #: Of every answer.
    deliveries: list[Delivery] = field(default_factory=list)
    #: An answer waits until it is set.
    gate: threading.Event = field(default_factory=threading.Event)
    _came: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def note(self, delivery: Delivery) -> int:
        with self._came:
            self.deliveries.append(delivery)
            self._came.notify_all()
        self.gate.wait(30)
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def await_deliveries(self, count: int, seconds: float = 20) -> Sequence[Delivery]:
        with self._came:
            came = self._came.wait_for(lambda: len(self.deliveries) >= count, seconds)
            assert came, f"{len(self.deliveries)} of {count} came"
            return list(self.deliveries)


@contextmanager
def receiver(*statuses: int, **headers: str) -> Iterator[Receiver]:
    """Run a receiver. Underscores in the names of headers stand for hyphens."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = running.note(Delivery(self.path, dict(self.headers.items()), body))
            try:
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                for name, value in running.headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                pass  # The sender has given up, or was killed.

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = Receiver(server.server_port, list(statuses), headers)
    running.gate.set()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield running
    finally:
        running.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def raw_receiver(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a receiver whose `answer` handles each connection; gives its port."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    answer(connection)
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()

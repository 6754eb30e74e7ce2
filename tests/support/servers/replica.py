"""A web replica that sends exactly the bytes that a test gives it."""

from __future__ import annotations

import queue
import re
import socket
import threading
from contextlib import suppress


class Replica:
    """Answers every request with the pieces of `answers`; `send` releases one piece.

    Without pieces it closes the connection after each request, as a dying replica does.
    """

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.connections = 0
        self.requests: list[bytes] = []  #: Their heads.
        self.body: queue.Queue[bytes] = queue.Queue()  #: Pieces of uploads, as they arrive.
        self._allowed = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def send(self, pieces: int = 1) -> None:
        self._allowed.release(pieces)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while head := self._head(connection):
                self.requests.append(head)
                for answer in self.answers:
                    self._allowed.acquire()
                    connection.sendall(answer)
                if not self.answers:
                    return

    def _head(self, connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (data := connection.recv(65_536)):
                return b""
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        if length := re.search(rb"(?i)content-length: (\d+)", head):
            self._upload(connection, body, int(length[1]))
        return head

    def _upload(self, connection: socket.socket, body: bytes, left: int) -> None:
        while True:
            self.body.put(body)
            left -= len(body)
            if left <= 0 or not (body := connection.recv(65_536)):
                return


def answer(kind: str, body: bytes) -> bytes:
    """A whole answer with this content type."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body

"""A raw connection to a server, for bytes that no HTTP client would send."""

from __future__ import annotations

import socket
from contextlib import suppress
from select import POLLIN, poll


class Connection:
    """A TCP connection to the host and port of `url`. It gives up after 20 s without an answer."""

    def __init__(self, url: str, sent: bytes = b"", *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:  # bytes; set before the connection, or it has no effect
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        host, _, port = url.removeprefix("http://").partition(":")
        self.socket.connect((host, int(port)))
        self.send(sent)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, most: int = 65_536) -> bytes:
        """The next bytes; none where the server has closed the connection."""
        return self.socket.recv(most)

    def has_answer(self) -> bool:
        """Whether bytes have come, or the server has closed the connection."""
        waiting = poll()  # select() knows no more than 1,024 files
        waiting.register(self.socket, POLLIN)
        return bool(waiting.poll(0))

    def until(self, ending: bytes) -> bytes:
        """What comes, until it ends with `ending`. The head and the body of an answer may come
        apart."""
        answer = b""
        while not answer.endswith(ending):
            piece = self.receive()
            assert piece, f"the server closed the connection after {answer!r}"
            answer += piece
        return answer

    def rest(self) -> bytes:
        """All that comes until the server closes or resets the connection."""
        answer = bytearray()
        with suppress(ConnectionResetError):
            while piece := self.receive(1_000_000):
                answer += piece
        return bytes(answer)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def head(path: str, length: int, *headers: str, method: str = "POST") -> bytes:
    """The head of a request whose body has `length` bytes, of which none is sent."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()

"""A real HTTP server whose answers a test chooses: for faults that the service does not have."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: Any = None  #: Sent as JSON.
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None  #: Sent instead of `body`.


class Cut:
    """Close the connection without an answer."""


def refusal(status: int, code: str, detail: str = "said so", **headers: str) -> Answer:
    problem = {"title": "", "status": status, "detail": detail, "code": code}
    return Answer(status, problem, {name.replace("_", "-"): v for name, v in headers.items()})


@dataclass
class ScriptedServer:
    url: str
    requests: list[Request]


Script = Callable[[Request], Answer | Cut]


@contextmanager
def scripted_server(
    script: Script, *, kept: int | None = None, port: int = 0
) -> Iterator[ScriptedServer]:
    """Calls `script` for each request, from several threads.

    Of a body, it gets the first `kept` bytes. Port 0 stands for a free one.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # Head and body are two packets, and each would wait 40 ms.

        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = _read(self.rfile, size, kept)
            if body is None:  # The client has gone. The service accepts no half of a part.
                self.close_connection = True
                return
            request = Request(self.command, self.path, dict(self.headers), body)
            scripted.requests.append(request)
            answer = script(request)
            if isinstance(answer, Cut):
                self.close_connection = True
                return
            text = json.dumps(answer.body).encode() if answer.raw is None else answer.raw
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that was killed closes its connections."""

    server = Server(("127.0.0.1", port), Handler)
    scripted = ScriptedServer(f"http://127.0.0.1:{server.server_port}", [])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield scripted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _read(file: BinaryIO, size: int, kept: int | None) -> bytes | None:
    """The first `kept` bytes of a body, or all; None if it ends early."""
    body = file.read(size if kept is None else min(size, kept))
    left = size - len(body)
    while left and (more := len(file.read(min(left, 2**16)))):
        left -= more
    return None if left else body


def in_order(*answers: Answer | Cut) -> Script:
    """One answer after the other. The last one answers all later requests too."""
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]

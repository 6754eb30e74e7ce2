"""Entry of Flower: `celery -A workers.flower flower`.

Flower only watches, so it keeps unacknowledged messages under keys of its own. With the workers'
keys it would return their messages to the queue after its own timeout.

Its pages show the ids of jobs. Without a password it answers only to the names of ALLOWED_HOSTS,
as web does, so that no page of another site can read them.

Flower limits neither its connections nor the answers that nobody reads. It has low priority,
because it shows the work and does none. Its clients take turns (workers.flower_turns).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable
from typing import Any

import flower.app
import flower.command
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.options import options
from tornado.web import RequestHandler

from shared.errors import HostNotAllowed
from shared.addresses.hosts import AllowedHosts
from shared.observe.start import read_settings
from workers.celery_app import make_celery
from workers.flower_turns import InTurn, Lines
from workers.upkeep import priority

_settings = read_settings("classifier-flower")

app = make_celery(_settings)
app.conf.broker_transport_options |= {
    f"{name}_key": f"watcher:{name}" for name in ("unacked", "unacked_index", "unacked_mutex")
}

_lines = Lines()
_hosts = AllowedHosts([_settings.host.lower(), *(_settings.allowed_hosts or ())])


#: Lower than that of each worker.
_NICENESS = 15
#: Connections of all clients. A client may have half of those that the others leave.
_CONNECTIONS = 64
#: Seconds for the head and for the body of a request.
_SECONDS = 60
_MOST_BODY_BYTES = 2**16
#: The address of a search has a few kilobytes. A head of 64 KB takes megabytes once it is parsed.
_MOST_HEAD_BYTES = 2**14


class _LimitedServer(HTTPServer):
    def initialize(self, application: Any, **options: Any) -> None:  # type: ignore[override]
        limits: dict[str, Any] = {
            "idle_connection_timeout": _SECONDS,
            "body_timeout": _SECONDS,
            "max_body_size": _MOST_BODY_BYTES,
            "max_header_size": _MOST_HEAD_BYTES,
        }
        super().initialize(application, **limits | options)

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """A new connection. One too many is closed without an answer."""
        contexts: Iterable[Any] = (each.context for each in self._connections)
        of_clients = Counter(each.address[:1] for each in contexts)
        own = of_clients[address[:1]]
        if 2 * own >= _CONNECTIONS - (of_clients.total() - own):
            stream.close()
        else:
            super().handle_stream(stream, address)


class _NotAllowed(RequestHandler):
    def prepare(self) -> None:
        self.set_status(400)
        self.finish({"code": HostNotAllowed.code, "detail": str(HostNotAllowed())})


class _GuardedFlower(flower.command.Flower):  # type: ignore[misc]
    """Flower has no setting for this. Every request comes through here, also for a static file."""

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        has_password = self.options.basic_auth or self.options.auth
        if has_password or _hosts.allow(request.headers.get("Host")):
            handler = super().find_handler(request, **more)
        else:
            handler = self.get_handler_delegate(request, _NotAllowed)
        connection: Any = request.connection
        return InTurn(handler, _lines.of(str(request.remote_ip)), connection.stream)

    def update_workers(self, workername: str | None = None) -> Awaitable[Any]:
        """Flower would ask any name for eight seconds, and keep it for as long."""
        if workername is None or workername in self.events.state.workers:
            answer: Awaitable[Any] = super().update_workers(workername)
            return answer
        return asyncio.sleep(0)


# The command makes its application by this name, and that its server by the other one.
flower.command.Flower = _GuardedFlower
flower.app.HTTPServer = _LimitedServer

priority.lower(_NICENESS)

# Flower reads FLOWER_PORT, too. It would stop at an empty value and at the address of a Service,
# which Kubernetes gives to this variable. So it gets what our settings have read.
_is_flowers_variable = flower.command.is_flower_envvar
flower.command.is_flower_envvar = lambda name: name != "FLOWER_PORT" and _is_flowers_variable(name)
options.port = _settings.flower_port

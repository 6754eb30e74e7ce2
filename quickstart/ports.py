"""The ports that the quick start listens on, checked before anything starts."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from shared.errors import ClassifierError
from shared.settings import Settings


def check_ports(settings: Settings) -> None:
    """Raises ClassifierError with the port and its setting where a port is taken."""
    wanted = [
        (settings.host, settings.web_port, "WEB_PORT"),
        (settings.host, settings.flower_port, "FLOWER_PORT"),
    ]
    if settings.metrics_port:  # One for the worker of each lane.
        wanted += [(settings.host, settings.metrics_port + k, "METRICS_PORT") for k in range(2)]
    # Each port is held until all are checked. So the same number in two settings is an error too.
    with ExitStack() as held:
        for host, port, setting in wanted:
            held.enter_context(_listen(host, port, setting))


def _listen(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            problem = f"port {port} is taken: stop the program there, or set {setting} to another"
        else:
            reason = error.strerror or error
            problem = f"cannot listen on {host}, port {port} ({reason}): see HOST and {setting}"
        raise ClassifierError(problem) from error

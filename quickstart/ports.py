"""The ports that the quick start listens on, checked before anything starts."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from shared.errors import ClassifierError
from shared.settings import Settings


def check_ports(settings: Settings) -> None:
    """Return when every port is free. Raises ClassifierError naming the port and its setting."""
    wanted = [
        (settings.host, settings.web_port, "WEB_PORT"),
        (settings.host, settings.flower_port, "FLOWER_PORT"),
    ]
    if settings.metrics_port:  # a worker for each lane
        wanted += [(settings.host, settings.metrics_port + k, "METRICS_PORT") for k in range(2)]
    # All are held until the last is checked, so that one number given twice is noticed too.
    with ExitStack() as held:
        for host, port, setting in wanted:
            held.enter_context(_listen(host, port, setting))


def _listen(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            problem = f"port {port} is taken: stop what listens there, or set {setting} to another"
        else:
            problem = f"cannot listen on {host}, port {port} ({error}): see HOST and {setting}"
        raise ClassifierError(problem) from error

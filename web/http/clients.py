"""Who sends a request: its API key, or its address. Limits for one client count by this name."""

from __future__ import annotations

from werkzeug.wrappers import Request

from web.http import auth
from web.server.addresses import network_of


def name_of(request: Request) -> str:
    """`key <name>`, or `address <address>` if the request came without an API key."""
    if key := request.environ.get(auth.OWNER):
        return f"key {key}"
    return f"address {network_of(request.remote_addr or '')}"

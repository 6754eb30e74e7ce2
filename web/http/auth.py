"""Checks the API key of a request, if keys are on, and notes its name."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_openapi import SecurityScheme
from werkzeug.wrappers import Request

from shared.observe import log
from shared.errors import NotAuthenticated
from web.http.api_keys import ApiKeys

#: Endpoints that are open to all. Probes and scrapes have no keys and show nothing about pictures.
#: The documents say how to use a key, and the page asks for one. Every other call needs a key, so a
#: new call is closed until it is added here.
OPEN = frozenset({"health.livez", "health.readyz", "health.health", "metrics.metrics"})
_OPEN_DOCUMENTS = frozenset({"docs", "redoc", "openapi_json", "static"})
_OPEN_BLUEPRINTS = frozenset({"openapi", "swagger", "redoc", "page"})

#: The name of the request's key, in the WSGI environment.
OWNER = "classifier.owner"

#: For the OpenAPI document.
SECURITY_SCHEMES: dict[str, dict[str, Any] | SecurityScheme] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def register(app: Flask, keys: ApiKeys) -> None:
    """Let every call that is not open raise NotAuthenticated unless it has one of `keys`."""

    def authenticate() -> None:
        if is_open():
            return
        # A submission was asked for its key before, in web.submit.early_refusals.
        name = request.environ.get(OWNER) or name_of(keys, request)
        if name is None:
            raise NotAuthenticated
        request.environ[OWNER] = name
        log.fields.set(log.fields.get() | {"user.name": name})

    app.before_request(authenticate)


def is_open() -> bool:
    """Whether the present request needs no key. An address that does not exist needs none."""
    endpoint = request.endpoint
    return (
        endpoint is None
        or endpoint in OPEN | _OPEN_DOCUMENTS
        or request.blueprint in _OPEN_BLUEPRINTS
    )


def owner_of(keys: ApiKeys | None, request: Request) -> str | None:
    """The name of the request's key: empty if keys are off, None if the key is unknown."""
    return name_of(keys, request) if keys else ""


def name_of(keys: ApiKeys, request: Request) -> str | None:
    """The name of the request's key; None if it has no key or an unknown one."""
    authorization = request.authorization
    if authorization and authorization.type == "bearer" and authorization.token:
        return keys.name_of(authorization.token)
    return keys.name_of(request.headers.get("X-API-Key", ""))

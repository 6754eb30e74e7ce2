"""Who asks: the name that goes with the request's API key, where keys are used."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_openapi import SecurityScheme
from werkzeug.wrappers import Request

from shared.observe import log
from shared.errors import NotAuthenticated
from web.http.api_keys import ApiKeys

#: Open to all. Probes and scrapes carry no keys, and tell of nobody's pictures; the documents say
#: how to use a key, and the page asks a person for one. All else needs one: a new call is closed
#: until somebody adds it here.
OPEN = frozenset({"health.livez", "health.readyz", "health.health", "metrics.metrics"})
_OPEN_DOCUMENTS = frozenset({"docs", "redoc", "openapi_json", "static"})
_OPEN_BLUEPRINTS = frozenset({"openapi", "swagger", "redoc", "page"})

#: In the WSGI environment: the name of the key that the request came with.
OWNER = "classifier.owner"

#: For the OpenAPI document.
SECURITY_SCHEMES: dict[str, dict[str, Any] | SecurityScheme] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def register(app: Flask, keys: ApiKeys) -> None:
    def authenticate() -> None:
        if is_open():
            return
        name = name_of(keys, request)
        if name is None:
            raise NotAuthenticated
        request.environ[OWNER] = name
        log.fields.set(log.fields.get() | {"user.name": name})

    app.before_request(authenticate)


def is_open() -> bool:
    """Whether the present request needs no key; what does not exist needs none either."""
    endpoint = request.endpoint
    return (
        endpoint is None
        or endpoint in OPEN | _OPEN_DOCUMENTS
        or request.blueprint in _OPEN_BLUEPRINTS
    )


def name_of(keys: ApiKeys, asked: Request) -> str | None:
    """Name of the key that a request presents; None where it is nobody's."""
    given = asked.authorization
    if given and given.type == "bearer" and given.token:
        return keys.name_of(given.token)
    return keys.name_of(asked.headers.get("X-API-Key", ""))

"""Checks the API key of a request, if keys are on, and notes the key and its name."""

from __future__ import annotations

from typing import Any
from wsgiref.types import WSGIEnvironment

from flask import Flask, request
from flask_openapi import SecurityScheme
from werkzeug.wrappers import Request

from shared.observe import log
from shared.errors import ApiKeyExpired, Forbidden, NotAuthenticated
from web.http.api_keys import ApiKey, ApiKeys, Scope

#: Endpoints that are open to all. Probes and scrapes have no keys and show nothing about pictures.
#: The documents say how to use a key, and the page asks for one. Every other call needs a key, so a
#: new call is closed until it is added here.
OPEN = frozenset({"health.livez", "health.readyz", "health.health", "metrics.metrics"})
_OPEN_DOCUMENTS = frozenset({"docs", "redoc", "redoc_script", "openapi_json", "static"})
_OPEN_BLUEPRINTS = frozenset({"openapi", "swagger", "redoc", "page"})

#: In the extensions of the application: its ApiKeys, or None if keys are off.
KEYS = "api_keys"

#: Calls that need the scope `operate`. All other calls that need a key need the scope `classify`.
OPERATOR_BLUEPRINT = "operator"

#: In the WSGI environment: the request's key, and the name of this key. Both are absent if keys are
#: off. The name stands for the client, which may have several keys.
KEY = "classifier.key"
OWNER = "classifier.owner"

#: For the OpenAPI document.
SECURITY_SCHEMES: dict[str, dict[str, Any] | SecurityScheme] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def register(app: Flask, keys: ApiKeys) -> None:
    """Let every call that is not open raise an error unless it has one of `keys`.

    That is NotAuthenticated for an unknown key, ApiKeyExpired, or Forbidden if the key lacks the
    scope of the call.
    """

    def authenticate() -> None:
        if is_open():
            return
        # A submission was asked for its key before, in web.submit.early_refusals.
        key: ApiKey | None = request.environ.get(KEY) or _key_of(keys, request)
        if key is None:
            raise NotAuthenticated
        if key.expired:
            raise ApiKeyExpired
        _note(request.environ, key)
        log.fields.set(log.fields.get() | {"user.name": key.name})
        operates = request.blueprint == OPERATOR_BLUEPRINT
        if not has_scope(request.environ, Scope.OPERATE if operates else Scope.CLASSIFY):
            raise Forbidden

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
    """The name of the request's key, which is noted in its WSGI environment.

    It is empty if keys are off, and None if the key is unknown or has expired.
    """
    if not keys:
        return ""
    key = _key_of(keys, request)
    if key is None or key.expired:
        return None
    _note(request.environ, key)
    return key.name


def has_scope(environ: WSGIEnvironment, scope: Scope) -> bool:
    """Whether a request may make calls of this scope. If keys are off, it may make all."""
    key: ApiKey | None = environ.get(KEY)
    return key is None or scope in key.scopes


def _note(environ: WSGIEnvironment, key: ApiKey) -> None:
    environ[KEY] = key
    environ[OWNER] = key.name


def _key_of(keys: ApiKeys, request: Request) -> ApiKey | None:
    """The request's key, which may have expired; None if it has no key or an unknown one."""
    authorization = request.authorization
    if authorization and authorization.type == "bearer" and authorization.token:
        return keys.find(authorization.token)
    return keys.find(request.headers.get("X-API-Key", ""))

"""Which web pages may use the service: its own, and those of `ALLOWED_ORIGINS`.

- A request to a name that is not ours is refused; see shared/addresses/hosts.py.
- A browser also sends forms of other sites, and the pages of other sites need no answer to do harm.
  So each request that changes something is refused, unless it comes from our own page, from an
  allowed origin, or from no page at all.
- Pages of allowed origins may read answers (CORS).
"""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request

from shared.errors import ClassifierError, CrossSite, HostNotAllowed
from shared.addresses.hosts import ANY, AllowedHosts, name_in
from shared.settings import Settings

#: In the WSGI environment: the error that the application has to raise for this request.
_REFUSAL = "classifier.origin_refusal"

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})

#: What an allowed page may send and read beside the few headers that browsers always allow.
_PREFLIGHT = [
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE"),
    (
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, traceparent, "
        "X-API-Key, X-Request-Id",
    ),
    ("Access-Control-Max-Age", "7200"),
    ("Content-Length", "0"),
]
_EXPOSED = (
    "Access-Control-Expose-Headers",
    "Allow, Content-Disposition, Location, Retry-After, Sunset, traceparent, WWW-Authenticate, "
    "X-Request-Id",
)


class OriginGuard:
    """Middleware. The application that it wraps must have been passed to `register`."""

    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        self._app = app
        self._hosts = AllowedHosts(_names(settings))
        self._origins = frozenset(settings.allowed_origins or ())

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if not self._hosts.allow(environ.get("HTTP_HOST")):
            environ[_REFUSAL] = HostNotAllowed(_not_ours(environ["HTTP_HOST"]))
        elif self._is_cross_site(environ):
            environ[_REFUSAL] = CrossSite()
        elif self._origins:
            return self._shared(environ, start)
        return self._app(environ, start)

    def _is_cross_site(self, environ: WSGIEnvironment) -> bool:
        """Whether a page that may not do so sent a request that changes something."""
        if environ["REQUEST_METHOD"] in _HARMLESS or self._allows(environ):
            return False
        # Browsers send it to `localhost` and over TLS. `none` is a user at the address bar.
        if site := environ.get("HTTP_SEC_FETCH_SITE"):
            return site not in ("same-origin", "none")
        origin = environ.get("HTTP_ORIGIN")
        return origin is not None and not _is_own(origin, environ.get("HTTP_HOST", ""))

    def _allows(self, environ: WSGIEnvironment) -> bool:
        origin = environ.get("HTTP_ORIGIN")
        return origin is not None and (origin in self._origins or ANY in self._origins)

    def _shared(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer with the headers that let an allowed page read the answer."""
        more = [("Vary", "Origin")]
        if self._allows(environ):
            more += [("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"]), _EXPOSED]
            if _is_preflight(environ):  # a browser sends no key with it
                start("204 No Content", more + _PREFLIGHT)
                return []

        def start_shared(status, headers, *error):  # type: ignore[no-untyped-def]
            return start(status, headers + more, *error)

        return self._app(environ, start_shared)


def register(app: Flask) -> None:
    """Let `app` answer the requests that the middleware refuses, in the shape of all errors."""

    def raise_refusal() -> None:
        refusal: ClassifierError | None = request.environ.get(_REFUSAL)
        if refusal:
            raise refusal

    app.before_request(raise_refusal)


def _names(settings: Settings) -> Iterable[str]:
    if settings.allowed_hosts is not None:
        return (settings.host.lower(), *settings.allowed_hosts)
    # With API keys, a page of another site has no key and so can read nothing of anybody's.
    return [ANY] if settings.api_keys_file else [settings.host.lower()]


def _not_ours(header: str) -> str:
    return (
        f"The service does not answer to the name {name_in(header)[:100]}. Use `localhost` or an "
        "IP address, or have the operator add the name to ALLOWED_HOSTS."
    )


def _is_own(origin: str, host: str) -> bool:
    """Whether a page of this origin was served by us. Some proxies add the default port."""
    address = origin.partition("://")[2]
    return bool(address) and address in (host, host.removesuffix(":80"), host.removesuffix(":443"))


def _is_preflight(environ: WSGIEnvironment) -> bool:
    is_options = environ["REQUEST_METHOD"] == "OPTIONS"
    return is_options and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ

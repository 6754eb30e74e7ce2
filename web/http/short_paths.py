"""`/jobs…` is another spelling of `/api/v1/jobs…`.

The path is rewritten in front of the application. So a call has one route, one endpoint and one
label in metrics and traces, whichever path the client used. Logs show the client's path.
"""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from web.http.requests import SENT_PATH

_SHORT, _PREFIX = "/jobs", "/api/v1"


class ShortPaths:
    """Middleware."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == _SHORT or path.startswith(f"{_SHORT}/"):
            environ[SENT_PATH] = path
            environ["PATH_INFO"] = _PREFIX + path
        return self._app(environ, start)

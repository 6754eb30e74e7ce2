"""Headers that Werkzeug splits at commas or semicolons are not read if they are long.

Each piece takes microseconds, and a head has room for 28,000 of them. All other clients of the
process would wait for up to 100 ms.
"""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: The headers that are read. A request may be answered as if it did not have them.
_SPLIT = (
    *("HTTP_ACCEPT", "HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"),
    *("HTTP_AUTHORIZATION", "HTTP_CONNECTION", "HTTP_RANGE", "CONTENT_TYPE"),
)

#: Characters. Those of browsers and our API keys have fewer than 300.
_LONGEST = 512


class LongHeaders:
    """Middleware: drops such a header. Then it counts as none."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        for name in _SPLIT:
            if len(environ.get(name, "")) > _LONGEST:
                del environ[name]
        return self._app(environ, start)

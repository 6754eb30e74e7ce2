"""The documentation of the API. flask-openapi serves it below /openapi."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from flask import Response, redirect, url_for
from flask_openapi import OpenAPI

#: ReDoc shows this picture, and the policy of its page refuses it. The other one is part of ReDoc.
_FOREIGN_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_LOGO = b"redoc/images/redoc.svg"
_REDOC = "redoc/js/redoc.standalone.js"


def register(app: OpenAPI) -> None:
    """Serve the usual short addresses, and ReDoc with a logo from here."""

    def to(endpoint: str) -> Response:
        return redirect(url_for(endpoint))  # type: ignore[return-value]

    app.add_url_rule("/docs", "docs", lambda: to("swagger.swagger"))
    app.add_url_rule("/redoc", "redoc", lambda: to("redoc.redoc"))
    app.add_url_rule("/openapi.json", "openapi_json", lambda: app.api_doc)
    app.add_url_rule(f"/openapi/{_REDOC}", "redoc_script", _redoc_script)


def _redoc_script() -> Response:
    response = Response(_script(), mimetype="text/javascript")
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    return response


@cache
def _script() -> bytes:
    whole = files("flask_openapi_redoc").joinpath("templates", _REDOC).read_bytes()
    return whole.replace(_FOREIGN_LOGO, _LOGO)

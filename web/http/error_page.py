"""Errors for people: a page for a browser that opens an address outside the API.

A client of the API, and a client that does not ask for HTML, gets the problem as JSON.
"""

from __future__ import annotations

from flask import Flask, Response, render_template, request

from web.schemas.problem import Problem

_API = "/api/"  # web.http.short_paths has turned /jobs… into this

_PROBLEM = "application/problem+json"
_HTML = "text/html"

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)


def register(app: Flask) -> None:
    app.after_request(_for_browsers)


def _for_browsers(response: Response) -> Response:
    if response.mimetype != _PROBLEM or request.path.startswith(_API):
        return response
    response.vary.add("Accept")
    accepted = request.accept_mimetypes
    if accepted.quality(_HTML) <= accepted.quality(_PROBLEM):
        return response
    problem = Problem.model_validate_json(response.get_data())
    response.set_data(render_template("error.html", problem=problem))
    response.mimetype = _HTML
    response.headers["Content-Security-Policy"] = _POLICY
    return response

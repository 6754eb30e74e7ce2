"""Headers that let a browser do as little as possible with our answers."""

from __future__ import annotations

import base64
import hashlib
import re

from flask import Flask, Response, request

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # No other site may load an answer into its pages.
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

#: The policy of data: nothing in it may be run, fetched or embedded.
_DATA = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

#: The headers of an answer with data.
FOR_DATA = _ALWAYS | {"Content-Security-Policy": _DATA}

#: The policy of the documentation's pages. They have a script inside the page, which is allowed by
#: its digest, and they add styles as they run. ReDoc's search runs in a worker made of a blob.
_DOCUMENTS = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_DOCUMENT_ENDPOINTS = ("swagger.swagger", "redoc.redoc")
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def register(app: Flask) -> None:
    app.after_request(_add)


def _add(response: Response) -> Response:
    response.headers.update(_ALWAYS)
    if "Content-Security-Policy" not in response.headers:
        response.headers["Content-Security-Policy"] = _policy(response)
    return response


def _policy(response: Response) -> str:
    if request.endpoint not in _DOCUMENT_ENDPOINTS:
        return _DATA
    scripts = _INLINE_SCRIPT.findall(response.get_data())
    return _DOCUMENTS.format(scripts=" ".join(_digest(script) for script in scripts))


def _digest(script: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"

"""What a browser may do with our answers: as little as it can."""

from __future__ import annotations

import base64
import hashlib
import re

from flask import Flask, Response, request

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Another site may show a picture's labels only by asking for them; it may not embed the page.
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

#: For data: nothing in it is ever run or fetched.
_DATA = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

#: What an answer with data carries, by name.
FOR_DATA = _ALWAYS | {"Content-Security-Policy": _DATA}

#: The packaged pages bring a script inside the page, told here by its digest, and write styles as
#: they run. ReDoc searches in a worker made of a blob.
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

"""The OpenAPI document, corrected so that it matches the answers of the service."""

from __future__ import annotations

from typing import Any

from flask_openapi import OpenAPI

from web.http import idempotency
from web.schemas.problem import Problem
from web.schemas.results import MEDIA_TYPES, ResultFormat

#: Answers of gunicorn itself. Such a request does not reach the application.
_UNREADABLE = {
    "414": "The address is too long.",
    "431": "The request has too many headers.",
}
#: Media types that no schema object describes, by operation.
_STREAMS = {
    "results": [name for name, kind in MEDIA_TYPES.items() if kind is not ResultFormat.JSON],
}
#: A header of every POST. As a schema object it would have to be validated at each request.
_IDEMPOTENCY_KEY = {
    "name": idempotency.HEADER,
    "in": "header",
    "description": "Your own name for this request. If you send the request again with the same "
    "name, the answer is the same job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
}
_TEXT = {"schema": {"type": "string"}}
_PAGE = {"text/html": {"schema": {"type": "string"}}}
#: Answers because of the name in `Host`, or of the page that sent the request: web.http.origins.
_REFUSED = {
    "application/problem+json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
}
_NO_REQUEST = {
    "description": "The request is not valid HTTP, or `Host` has a wrong name.",
    "content": _PAGE | _REFUSED,
}
_CROSS_SITE = {"description": "A page of another site sent this.", "content": _REFUSED}


class DocumentedApi(OpenAPI):
    """flask-openapi with the answers and the header that it cannot know.

    It adds an answer 422 of its own form to each call that documents none. Our calls answer with
    problems, so that one is removed.
    """

    def generate_spec_json(self) -> None:
        super().generate_spec_json()  # type: ignore[no-untyped-call]
        for path in self.spec_json["paths"].values():
            if "post" in path:
                path["post"].setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        for path in self.spec_json["paths"].values():
            for method, operation in path.items():
                self._correct(operation, is_read=method == "get")

    def _correct(self, operation: dict[str, Any], *, is_read: bool) -> None:
        answers, made_up = operation["responses"], self.validation_error_status
        if "application/json" in answers[made_up]["content"]:
            del answers[made_up]
        for kind in _STREAMS.get(operation.get("operationId", ""), ()):
            answers["200"]["content"][kind] = _TEXT
        for status, reason in _UNREADABLE.items():
            answers.setdefault(status, {"description": reason, "content": _PAGE})
        answers["400"] = _NO_REQUEST
        if not is_read:
            answers.setdefault("403", _CROSS_SITE)

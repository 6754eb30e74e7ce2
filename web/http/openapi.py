"""The OpenAPI document, told as the service answers."""

from __future__ import annotations

from flask_openapi import OpenAPI

from web.http import idempotency
from web.schemas.results import MEDIA_TYPES, ResultFormat

#: gunicorn's own answers, before the application hears of the request.
_UNREADABLE = {"400": "No HTTP.", "414": "The address is too long.", "431": "Too many headers."}
#: Kinds of answer that no schema object describes, by operation.
_STREAMS = {
    "results": [name for name, kind in MEDIA_TYPES.items() if kind is not ResultFormat.JSON],
}
#: Every POST takes it: here, because as a schema object it would cost each request its reading.
_IDEMPOTENCY_KEY = {
    "name": idempotency.HEADER,
    "in": "header",
    "description": "Your own name for this request: sent again, it is answered with the same job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
}
_TEXT = {"schema": {"type": "string"}}
_PAGE = {"text/html": {"schema": {"type": "string"}}}


class DocumentedApi(OpenAPI):
    """flask-openapi, less the answer that it makes up and with those that it cannot know.

    It adds a 422 with a list to every call that documents none; ours answer problems, and say so.
    """

    def generate_spec_json(self) -> None:
        super().generate_spec_json()  # type: ignore[no-untyped-call]
        for path in self.spec_json["paths"].values():
            if "post" in path:
                path["post"].setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        made_up = self.validation_error_status
        for path in self.spec_json["paths"].values():
            for operation in path.values():
                answers = operation["responses"]
                if "application/json" in answers[made_up]["content"]:
                    del answers[made_up]
                for kind in _STREAMS.get(operation.get("operationId", ""), ()):
                    answers["200"]["content"][kind] = _TEXT
                for status, reason in _UNREADABLE.items():
                    answers.setdefault(status, {"description": reason, "content": _PAGE})

"""The OpenAPI document, corrected so that it matches the answers of the service."""

from __future__ import annotations

from typing import Any

from flask_openapi import OpenAPI

from web.http import idempotency
from web.schemas.examples import EXAMPLES
from web.schemas.operator_examples import OPERATOR_EXAMPLES
from web.schemas.problem import Problem
from web.schemas.results import MEDIA_TYPES, ResultFormat
from web.schemas.submission import ClassifyForm, OpenRequest, PartForm, SubmitForm

#: Answers of gunicorn itself. Such a request does not reach the application.
_UNREADABLE = {
    "414": "The address is too long.",
    "431": "The request has too many headers.",
}
#: Media types that no schema object describes, by operation.
_STREAMS = {
    "getResults": [name for name, kind in MEDIA_TYPES.items() if kind is not ResultFormat.JSON],
}
#: The models of bodies. flask-openapi adds the models of answers only.
_BODIES = (ClassifyForm, SubmitForm, OpenRequest, PartForm)
#: A header of every POST that makes a job or retries a picture. As a schema object it would have to
#: be validated at each request.
_IDEMPOTENCY_KEY = {
    "name": idempotency.HEADER,
    "in": "header",
    "description": "Your own name for this request. If you send the request again with the same "
    "name, the answer is the same job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
}
#: They make no job. Their descriptions say how to repeat a request.
_WITHOUT_KEY = frozenset({"purgeLane"})
#: By operation id.
_EXAMPLES = EXAMPLES | OPERATOR_EXAMPLES
_REFERENCE = "#/components/schemas/{model}"
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
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
        schemas = self.spec_json["components"]["schemas"]
        for model in _BODIES:
            schema = model.model_json_schema(ref_template=_REFERENCE)
            schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
        for path in self.spec_json["paths"].values():
            if "post" in path and path["post"]["operationId"] not in _WITHOUT_KEY:
                path["post"].setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
            for method, operation in path.items():
                self._correct(operation, is_read=method == "get")
                _add_examples(operation)

    def _correct(self, operation: dict[str, Any], *, is_read: bool) -> None:
        if "description" in operation:
            operation["description"] = _plain(operation["description"])
        answers, made_up = operation["responses"], self.validation_error_status
        if "application/json" in answers[made_up]["content"]:
            del answers[made_up]
        for kind in _STREAMS.get(operation["operationId"], ()):
            answers["200"]["content"][kind] = _TEXT.copy()
        for status, reason in _UNREADABLE.items():
            answers.setdefault(status, {"description": reason, "content": _PAGE})
        answers["400"] = _NO_REQUEST
        if not is_read:
            answers.setdefault("403", _CROSS_SITE)


def _plain(description: str) -> str:
    """A docstring's paragraphs, which flask-openapi has broken into HTML at each line's end."""
    paragraphs = description.split("<br/><br/>")
    return "\n\n".join(" ".join(each.replace("<br/>", " ").split()) for each in paragraphs)


def _add_examples(operation: dict[str, Any]) -> None:
    for example in _EXAMPLES[operation["operationId"]]:
        if example.status is None:
            content = operation["requestBody"]["content"]
        else:
            content = operation["responses"][str(example.status)]["content"]
        examples = content[example.kind].setdefault("examples", {})
        examples[example.name] = {"summary": example.summary, "value": example.value}

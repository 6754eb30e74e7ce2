"""Answers as bytes, and their part of the OpenAPI document."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from flask import Response
from pydantic import BaseModel

from shared.errors import (
    ApiKeyExpired,
    ClassifierError,
    Forbidden,
    NotAuthenticated,
    RateLimited,
    Unavailable,
)
from web.http.errors import problem_body, status_for, status_of
from web.schemas.problem import Problem
from web.server import slow_downloads


def answer(body: BaseModel, status: int = 200, *, location: str | None = None) -> Response:
    """`body` as JSON. `location` is the address of the job that the answer is about."""
    response = Response(body.model_dump_json(), status, mimetype="application/json")
    if location:
        response.headers["Location"] = location
    return response


def streamed(
    pieces: Iterator[bytes], media_type: str, client: socket.socket | None, *, seconds: float
) -> Response:
    """An answer that is made while `client` reads it, which has `seconds` for each piece.

    `pieces` is closed when the client has gone.
    """
    pieces = slow_downloads.bounded(pieces, client, seconds=seconds)
    response = Response(pieces, mimetype=media_type)
    response.headers["Cache-Control"] = "no-store"
    return response


def request_body(
    contents: Mapping[str, type[BaseModel] | None], description: str
) -> dict[str, Any]:
    """`request_body` of a route that reads its body itself: a model for each content type.

    None stands for a body of any bytes. The document gets the models from `web.http.openapi`.
    """
    return {
        "description": description,
        "required": True,
        "content": {
            kind: {"schema": reference(model) if model else {"type": "string", "format": "binary"}}
            for kind, model in contents.items()
        },
    }


def reference(model: type[BaseModel]) -> dict[str, str]:
    """The schema of a model that is among the components of the document."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def documented(
    answers: Mapping[int, type[BaseModel]],
    *problems: type[ClassifierError],
    open_to_all: bool = False,
    has_body: bool = False,
) -> dict[str | int, Any]:
    """`responses` of a route: its answers, and the errors that it can answer with.

    Any call may be refused in an outage. A call that is not open to all may also be refused because
    it has no key or comes too often; one with a body, because the upload is broken or stands still.
    """
    if not open_to_all:
        problems += (NotAuthenticated, ApiKeyExpired, Forbidden, RateLimited, Unavailable)
    by_status: dict[int, dict[str, str]] = {}
    for error in problems:
        by_status.setdefault(_status(error), {})[error.code] = str(error.__doc__)
    if has_body:
        by_status[HTTPStatus.REQUEST_TIMEOUT] = {"request_timeout": "The upload stood still."}
        by_status[HTTPStatus.BAD_REQUEST] = {"bad_request": "The body has no end, or bad chunks."}
    responses: dict[str | int, Any] = dict(answers.items())
    return responses | {status: _problems(status, by_status[status]) for status in by_status}


def _status(error: type[ClassifierError]) -> int:
    """The status of an answer with this error. `/classify` answers with errors of items, too."""
    status = status_for(error)
    return status_of(error.code) if status == HTTPStatus.INTERNAL_SERVER_ERROR else status


def _problems(status: int, details: Mapping[str, str]) -> dict[str, Any]:
    """The answer with this status: each of its codes with a text, and as a named example."""
    examples = {
        code: {"summary": detail, "value": json.loads(problem_body(status, code, detail))}
        for code, detail in details.items()
    }
    content = {"schema": reference(Problem), "examples": examples}
    return {
        "description": "\n".join(f"- `{code}`: {detail}" for code, detail in details.items()),
        "content": {"application/problem+json": content},
    }

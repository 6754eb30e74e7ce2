"""Answers as bytes, and how the OpenAPI document tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response, request
from pydantic import BaseModel

from web.server import slow_downloads
from web.schemas.problem import Problem


def answer(body: BaseModel, status: int = 200, *, location: str | None = None) -> Response:
    response = Response(body.model_dump_json(), status, mimetype="application/json")
    if location:
        response.headers["Location"] = location
    return response


def streamed(pieces: Iterator[bytes], media_type: str, *, seconds: float) -> Response:
    """An answer that is made while the client reads it. A client has `seconds` for each piece.

    `pieces` is closed when the client has gone.
    """
    client = request.environ.get("gunicorn.socket")
    pieces = slow_downloads.bounded(pieces, client, seconds=seconds)
    response = Response(pieces, mimetype=media_type)
    response.headers["Cache-Control"] = "no-store"
    return response


def request_body(contents: Mapping[str, type[BaseModel]], description: str) -> dict[str, Any]:
    """`request_body` of a route that reads it itself."""
    schemas = {kind: _schema(model) for kind, model in contents.items()}
    return {
        "description": description,
        "required": True,
        "content": {kind: {"schema": schema} for kind, schema in schemas.items()},
    }


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """What it refers to is among the answers' schemas."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {name: value for name, value in schema.items() if name != "$defs"}


def documented(
    answers: Mapping[int, type[BaseModel]], *problems: int, open_to_all: bool = False
) -> dict[str | int, Any]:
    """`responses` of a route: its answers, and the statuses that carry a problem.

    Every call but the open ones may be refused for want of a key, or for coming too often.
    """
    if not open_to_all:
        problems += (401, 429)
    schema = {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
    refusal = {"description": "A problem.", "content": {"application/problem+json": schema}}
    found: dict[str | int, Any] = dict(answers.items())
    return found | {status: refusal for status in problems}

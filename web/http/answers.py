"""Answers as bytes, and their part of the OpenAPI document."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response
from pydantic import BaseModel

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


def request_body(contents: Mapping[str, type[BaseModel]], description: str) -> dict[str, Any]:
    """`request_body` of a route that reads its body itself: a schema for each content type."""
    schemas = {kind: _schema(model) for kind, model in contents.items()}
    return {
        "description": description,
        "required": True,
        "content": {kind: {"schema": schema} for kind, schema in schemas.items()},
    }


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema without those that it refers to. The document has them, from the answers."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {name: value for name, value in schema.items() if name != "$defs"}


def documented(
    answers: Mapping[int, type[BaseModel]], *problems: int, open_to_all: bool = False
) -> dict[str | int, Any]:
    """`responses` of a route: its answers, and the statuses of its problems.

    A call that is not open to all may also be refused because it has no key (401) or comes too
    often (429).
    """
    if not open_to_all:
        problems += (401, 429)
    schema = {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
    problem = {"description": "A problem.", "content": {"application/problem+json": schema}}
    responses: dict[str | int, Any] = dict(answers.items())
    return responses | {status: problem for status in problems}

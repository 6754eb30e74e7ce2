"""`/model/info`: what the workers have loaded."""

from __future__ import annotations

from flask import Response
from flask_openapi import APIBlueprint

from web.http.answers import answer, documented
from web.routes.backend import backend
from web.schemas.status import ModelSchema

blueprint = APIBlueprint("model", __name__, url_prefix="/api/v1")


@blueprint.get("/model/info", responses=documented({200: ModelSchema}, 503))
def info() -> Response:
    """Read the model's name, version and origin."""
    return answer(ModelSchema.of(backend().model.get()))

"""`/model`: what the workers have loaded."""

from __future__ import annotations

import json

from flask import Response
from flask_openapi import APIBlueprint, Tag

from shared.errors import ModelNotReady
from shared.serving import model_info
from web.http.answers import answer, documented
from web.routes.backend import backend
from web.schemas.status import LabelList, ModelSchema

_TAG = Tag(name="Model", description="The model that the workers have loaded.")

blueprint = APIBlueprint("model", __name__, url_prefix="/api/v1", abp_tags=[_TAG])


@blueprint.get(
    "/model/info", responses=documented({200: ModelSchema}, ModelNotReady), operation_id="getModel"
)
def info() -> Response:
    """Read the model's name, version and origin."""
    return answer(ModelSchema.of(backend().model.get()))


@blueprint.get(
    "/model/labels",
    responses=documented({200: LabelList}, ModelNotReady),
    operation_id="listLabels",
)
def labels() -> Response:
    """List the labels that the model can give.

    The list changes only with the model version, so a program can keep it.
    """
    version = backend().model.get().version
    names = model_info.read_labels(backend().redis, version)
    # A model has up to 21,000 labels. As schema objects they would hold up the process.
    listed = [{"id": class_id, "name": name} for class_id, name in enumerate(names)]
    body = json.dumps({"model_version": version, "labels": listed}, ensure_ascii=False)
    return Response(body, mimetype="application/json")

"""`/jobs/<id>/items/<index>/thumbnail`: a small version of a picture."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from flask_openapi import APIBlueprint, Tag

from shared.errors import InvalidRequest, JobNotFound, ThumbnailNotFound
from shared.jobs import PART_SIZE
from web.http.answers import documented
from web.routes.backend import backend, own_job
from web.schemas.job import ItemPath

_TAG = Tag(name="Results", description="The labels of a job's pictures.")

#: Generators of clients know no pictures, so bytes come first. A browser gets a picture.
_KINDS: dict[str, Any] = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in ("application/octet-stream", "image/jpeg")
}

blueprint = APIBlueprint("thumbnails", __name__, url_prefix="/api/v1", abp_tags=[_TAG])


@blueprint.get(
    "/jobs/<job_id>/items/<index>/thumbnail",
    responses=documented({}, JobNotFound, ThumbnailNotFound, InvalidRequest)
    | {"200": {"description": "A JPEG of at most 8 KiB.", "content": _KINDS}},
    operation_id="getThumbnail",
)
def read(path: ItemPath) -> Response:
    """Read the thumbnail of a picture, if its job asked for thumbnails."""
    job = own_job(path.job_id)
    digests = backend().jobs.digests(job.id, path.index // PART_SIZE) if job.thumbnails else None
    position = path.index % PART_SIZE
    if digests is None or position >= len(digests):
        raise ThumbnailNotFound
    jpeg = backend().thumbnails.get(digests[position])
    if jpeg is None:
        raise ThumbnailNotFound
    kind = request.accept_mimetypes.best_match(["image/jpeg", "application/octet-stream"])
    response = Response(jpeg, mimetype=kind or "image/jpeg")
    response.headers["Cache-Control"] = "private, max-age=86400, immutable"
    return response

"""`/jobs/<id>/items/<index>/thumbnail`: a small version of a picture."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from flask_openapi import APIBlueprint, Tag

from shared.errors import InvalidRequest, JobNotFound, ThumbnailNotFound
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
    """Read the thumbnail of a picture.

    Its job must have asked for thumbnails, and must have sent the picture and not only its digest.
    """
    job = own_job(path.job_id)
    # A digest alone gives nothing: it may be of a picture of another client.
    digest = backend().jobs.sent_digest(job.id, path.index) if job.thumbnails else None
    jpeg = backend().thumbnails.get(digest) if digest else None
    if jpeg is None:
        raise ThumbnailNotFound
    kind = request.accept_mimetypes.best_match(["image/jpeg", "application/octet-stream"])
    response = Response(jpeg, mimetype=kind or "image/jpeg")
    response.headers["Cache-Control"] = "private, max-age=86400, immutable"
    return response
